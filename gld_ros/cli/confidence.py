# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`gld calibrate-confidence`: what a model's confidence is worth, measured on rooms that it was not trained on."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from typer import Option

from gld_ros.cli.options import Device, Json, ModelName, show, size_option
from gld_ros.errors import InvalidRequest

NATIVE_SHARE = 5  # of a fit: a fifth of the rooms is measured at a camera's resolution, too
REGIONS = ("all", "observed", "generated")


def calibrate_confidence(
    model: ModelName,
    split: Annotated[str, Option(help="rooms to fit on: val, as test rooms are for checking")] = "val",
    out: Annotated[Path | None, Option(help="file to fit into, a calibration.json of the model")] = None,
    check: Annotated[Literal["test", "val"] | None, Option(help="fit nothing: report on these rooms")] = None,
    far: Annotated[bool, Option("--far", help="with --check: targets up to six baselines from the sources")] = False,
    samples: Annotated[int, Option(help="with --check: samples of each view")] = 1,
    scenes: Annotated[int, Option(help="rooms, two targets each")] = 1000,
    size: Annotated[Any, size_option("size of the rooms' cameras")] = "96x72",
    pixels: Annotated[Path | None, Option(metavar="DIR", help="folder that keeps what was measured")] = None,
    plot: Annotated[Path | None, Option(metavar="PNG", help="write a reliability diagram")] = None,
    as_json: Json = False,
    device: Device = None,
) -> None:
    """Fit a model's confidence and intervals on val rooms, or check them on test rooms."""
    from gld_ros.evaluation import confidence_fit
    from gld_ros.evaluation.confidence_fit import NATIVE, Rooms, measure
    from gld_ros.evaluation.report import reliability_diagram
    from gld_ros.pipeline import GLDPipeline
    from gld_ros.weights.hub import resolve
    from gld_ros.weights.verification import weights_of

    if split != "val":
        raise InvalidRequest(f"--split {split}: fits are made on val rooms; --check test reports on the others")
    if bool(out) == bool(check):
        raise InvalidRequest("give either --out FILE, to fit, or --check SPLIT, to report")
    if out and (far or samples != 1):
        raise InvalidRequest("--far and --samples are for --check: fits are made on single samples of the usual rooms")
    if scenes < NATIVE_SHARE:
        raise InvalidRequest(f"--scenes {scenes}: at least {NATIVE_SHARE} are expected")
    folder = resolve(model)
    pipe, weights = GLDPipeline.from_pretrained(folder, device=device), weights_of(folder)
    calibration = pipe.calibration
    rooms = Rooms(check or split, scenes, (size[1], size[0]), far, samples)
    measured = measure(pipe, rooms, weights, pixels)
    if out:
        larger = Rooms(split, scenes // NATIVE_SHARE, NATIVE)
        native = measure(pipe, larger, weights, pixels) if larger.native(pipe) else None
        command = f"gld calibrate-confidence {model} --scenes {scenes} --out {out.name}"
        origin = {"command": command, "on": [str(rooms), str(larger)]}
        calibration = confidence_fit.fit(measured, weights, origin, native)
        calibration.save(out)
        print(f"gld: {out} written; what follows is on the rooms of the fit itself", file=sys.stderr)
    if calibration and rooms.native(pipe):
        calibration = calibration.at_native()
    report = {"model": pipe.name, "on": str(rooms), **confidence_fit.check(measured, calibration)}
    if plot:
        reliability_diagram(plot, report)
    if as_json:
        print(json.dumps(report, indent=1, allow_nan=False))
    else:
        print_report(report)


def print_report(report: dict[str, Any]) -> None:
    """The figures as a table, a region a column; where the model is calibrated, then a line a range of novelty."""
    state = "calibrated" if report["calibrated"] else "not calibrated"
    print(
        f"{report['model']}, {state}, {report['on']}: {report['views']} views, {report['rooms']} rooms, "
        f"{report['refused']} refused"
    )
    figures = {
        "share of the pixels": "share",
        "depth right within 10 %": "right",
        "calibration error (ECE)": "ece",
        "the same, mean over views": "ece_per_view",
    }
    rows = [[title, *(_number(report[region][key]) for region in REGIONS)] for title, key in figures.items()]
    if report["calibrated"]:
        for level in report["all"]["coverage"]:
            rows.append([f"coverage at {level}", *(_share(report[region]["coverage"][level]) for region in REGIONS)])
        widths = [report[region]["coverage"]["0.9"]["median_width"] for region in REGIONS]
        rows.append(["median width of the 0.9 interval", *map(_number, widths)])
        for name in (name for name in report["all"] if name.startswith("missed")):
            title = f"{name.replace('_', ' ')} at 0.9"
            rows.append([title, *(_share(report[region][name]) for region in REGIONS)])
    show(["", *(f">{region}" for region in REGIONS)], rows)
    if report["calibrated"]:
        keys = ("generated", "right", "ece", "coverage_0.9")
        ranges = [
            [f"{row['from']:.1f}-{row['to']:.1f}", str(row["views"]), *(f"{row[key]:.3f}" for key in keys)]
            for row in report["by_novelty"]
        ]
        print()
        show(["novelty", ">views", ">generated", ">right within 10 %", ">ECE", ">coverage at 0.9"], ranges)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _share(value: dict[str, Any]) -> str:
    return _number(value["share"]) + ("" if value["low"] is None else f" [{value['low']:.3f}, {value['high']:.3f}]")
