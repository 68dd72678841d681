# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`gld scene`: a whole scene from one, two or all views of a sequence, in the files of other tools."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Annotated, Any, Literal

from typer import Argument, Option

from gld_ros.cli.options import (
    SEQUENCE,
    Device,
    Dtype,
    Guidance,
    ModelOptions,
    Offload,
    Opening,
    OutFolder,
    Steps,
    grouped,
    progress,
    size_option,
)
from gld_ros.cli.synthesize import indices
from gld_ros.errors import InvalidRequest

Task = Literal["1view", "2view", "allview"]


@grouped
def scene(
    sequence: Annotated[Path, Argument(help=SEQUENCE)],
    out: OutFolder,
    model: Annotated[str, Option(help="name of a model or folder of its weights")] = "mini",
    task: Annotated[Task, Option(help="what is given: one view, two, or as many as the model takes")] = "2view",
    frames: Annotated[
        Any, Option(parser=indices, metavar="N,N,...", help="frames that are given (default: chosen by the task)")
    ] = None,
    path: Annotated[
        str | None,
        Option(
            help="of the cameras: orbit, forward, backward, left, right, up, down, turn_left, turn_right, between (two "
            "views), given (the sequence's own), free (chosen by the model)"
        ),
    ] = None,
    cameras: Annotated[
        Path | None,
        Option(metavar="FILE", help="cameras to ask for: cameras.json, transforms.json, Gen3R's JSON"),
    ] = None,
    views: Annotated[
        int | None, Option(help="views to make along the path (default: the model's clip, else 24)")
    ] = None,
    distance: Annotated[
        float | None, Option(help="of the scene, which sizes the path (default: its median depth)")
    ] = None,
    nearest: Annotated[float, Option(help="share of each view's depths that the cloud keeps, from the nearest")] = 0.98,
    farthest: Annotated[float | None, Option(metavar="METRES", help="depth beyond which the cloud has nothing")] = None,
    confidence: Annotated[
        float, Option(help="least confidence of the cloud's points, 0 to 1: .5 keeps what is rather right than wrong")
    ] = 0.0,
    option: ModelOptions = None,
    device: Device = None,
    steps: Steps = None,
    guidance: Guidance = None,
    size: Annotated[Any, size_option("size the model works at (default: the model's)")] = None,
    dtype: Dtype = None,
    offload: Offload = None,
    seed: Annotated[int, Option(help="seed of the random numbers")] = 0,
    *,
    opening: Opening,
) -> None:
    """Make a scene from few views: videos, cloud, GLB, COLMAP, transforms.json, cameras, a contact sheet, a report.

    Needs the extra `scene`.
    """
    from gld_ros.exports.formats import FORMATS, export
    from gld_ros.exports.made_scene import Kept, MadeScene
    from gld_ros.exports.planning import plan
    from gld_ros.exports.report import write_report
    from gld_ros.extras import require
    from gld_ros.files import replacing_folder
    from gld_ros.pipeline.pipeline import GLDPipeline

    require("scene", "gld scene")
    if not 0 < nearest <= 1 or not 0 <= confidence <= 1 or (farthest is not None and farthest <= 0):
        raise InvalidRequest(
            f"--nearest {nearest:g} --farthest {farthest} --confidence {confidence:g}: a share above 0 up to 1, metres "
            "above 0, and 0 to 1 are expected"
        )
    keep = Kept(nearest, farthest, confidence)
    opened = opening.open(sequence)
    options = dict(option or [])
    pipe = GLDPipeline.from_pretrained(model, device=device, dtype=dtype, offload=offload)
    with replacing_folder(out) as new:  # before the model works: a folder that cannot be written is told at once
        with warnings.catch_warnings(record=True) as caught, progress("scene", 1.0) as update:
            warnings.simplefilter("always", UserWarning)
            asked = plan(opened, pipe, task, frames, path, cameras, views, distance, size, options)
            made = pipe(
                asked.sources,
                asked.targets,
                steps=steps,
                guidance_scale=guidance,
                size=size,
                seed=seed,
                strict_scale=False,  # a scene without metres is still one; the report says so
                callback=lambda state: update(completed=state.fraction, description=state.stage),
                options=asked.options,
            )
            observed = pipe.just_observed(asked.sources)
        doubts = sorted({str(w.message) for w in caught if issubclass(w.category, UserWarning)})
        for doubt in doubts:
            print(f"gld: warning: {doubt}", file=sys.stderr)
        metric = bool(opened.metric) and made[0].scale.method != "unknown"
        notes = ["the weights are random: nothing here means anything"] * pipe.generator.random_weights
        if made[0].scale.method == "unknown":
            notes.append("lengths are no metres: nothing told the scale")
        result = MadeScene(asked.sources, observed, made, keep, "m" if metric else "units", notes)
        points = export(new, result)
        write_report(new, result, points, {"model": pipe.name, "task": task, "path": asked.path, "seed": seed}, doubts)
    print(f"{out}: {len(made)} views, {len(points.xyz):,} points; {', '.join(FORMATS)}")
