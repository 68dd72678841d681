# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`gld eval-costmap`: obstacles that a robot's map has from a model's depth, against those of a depth sensor."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from typer import Option

from gld_ros.cli.options import Device, Dtype, Json, ModelName, Offload, progress, show
from gld_ros.errors import InvalidRequest


def evaluate_costmap(
    model: ModelName,
    data: Annotated[list[str], Option(metavar="KIND:PATH", help="sequences with the depth of a sensor; repeatable")],
    ground: Annotated[
        Literal["found", "frame"],
        Option(help="heights count from the ground found in the sensor's depth, or from z = 0 of the poses' frame"),
    ] = "found",
    confirmations: Annotated[
        int | None, Option(help="key frames that have to confirm a depth, map_confirmations of gld_node (default: 2)")
    ] = None,
    device: Device = None,
    dtype: Dtype = None,
    offload: Offload = None,
    as_json: Json = False,
    out: Annotated[Path | None, Option(help="folder for report.json and costmap.png")] = None,
) -> None:
    """Compare the obstacles of the map that gld_node makes with those of a depth sensor's map."""
    from gld_ros.data.scenes import open_scenes
    from gld_ros.evaluation import costmap
    from gld_ros.evaluation.report import versions
    from gld_ros.evaluation.results import write_report
    from gld_ros.pipeline import GLDPipeline
    from gld_ros.plain import to_dict
    from gld_ros.scene.map.config import MapConfig

    config = MapConfig() if confirmations is None else MapConfig(confirmations=confirmations)
    sequences: dict[str, dict[str, Any]] = {}
    pipe = GLDPipeline.from_pretrained(model, device=device, dtype=dtype, offload=offload)
    for spec in data:
        scenes = open_scenes(spec)
        for index, name in enumerate(scenes.names):
            if name in sequences:
                raise InvalidRequest(f"{spec}: a sequence {name} was there before; give the folder another name")
            frames = scenes.frames(index)
            with progress(name, len(frames)) as update:
                sequences[name] = costmap.evaluate_costmap(pipe, frames, ground, config, lambda: update(1))
    report = {
        "model": pipe.name,
        "command": shlex.join(["gld", *sys.argv[1:]]),
        "versions": versions(pipe),
        "map": to_dict(config),
        "heights": [costmap.LOW, costmap.HIGH],
        "sequences": sequences,
    }
    if out:
        out.mkdir(parents=True, exist_ok=True)
        write_report(out / "report.json", report)
        costmap.plot_costmap(out / "costmap.png", sequences)
    if as_json:
        print(json.dumps(report, indent=1, allow_nan=False))
    else:
        print_costmap(report)


#: Numbers of cells: of the sensor, occupied and free; of the model, occupied, and those where the sensor saw nothing.
COUNTS = ("obstacles", "real_free", "marks", "unjudged")


def print_costmap(report: dict[str, Any]) -> None:
    """A table a sequence: a line a cell size and confidence."""
    columns = {
        "recall": "recall",
        "false_marks": "false",
        "false_marks_far": "false, far",
        "wrongly_cleared": "cleared",
    }
    for name, figures in report["sequences"].items():
        scale, ground = figures["scale"], figures["ground"]
        up = ", ".join(f"{value:.2f}" for value in ground["up"])
        jitter = "" if scale["step"] is None else f"; its scale moves by {scale['step']:.1%} a key frame"
        print(
            f"{name}: {figures['key_frames']} key frames, {figures['without_depth']} without depth; up is ({up}), the "
            f"camera {figures['camera_height']:.2f} m above the ground\n"
            f"depth AbsRel {_number(figures['depth_abs_rel'])}{jitter}"
        )
        rows = [
            [
                f"{cell} m",
                f"{row['confidence']:g}",
                *(_number(row[key]) for key in columns),
                *(str(row[key]) for key in COUNTS),
            ]
            for cell, of_cell in figures["cells"].items()
            for row in of_cell
        ]
        show(
            ["cells", ">confidence", *(f">{title}" for title in columns.values()), *(f">{key}" for key in COUNTS)], rows
        )
        print()


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
