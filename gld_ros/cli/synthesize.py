# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`gld synthesize`: views of a posed sequence that were not given to the model, from a folder or a rosbag2."""

from __future__ import annotations

import math
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, BadParameter, Option

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
from gld_ros.errors import InvalidRequest


def indices(text: str) -> list[int]:
    """[2, 3] of "2,3"."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise BadParameter(f"{text!r}: frame numbers separated by commas are expected") from None


@grouped
def synthesize(
    sequence: Annotated[Path, Argument(help=SEQUENCE)],
    sources: Annotated[Any, Option(parser=indices, metavar="N,N,...", help="frames given to the model, e.g. 0,5")],
    targets: Annotated[Any, Option(parser=indices, metavar="N,N,...", help="frames to synthesize, e.g. 2,3")],
    out: OutFolder,
    model: Annotated[str, Option(help="name of a model or folder of its weights")] = "mini",
    device: Device = None,
    steps: Steps = None,
    guidance: Guidance = None,
    size: Annotated[Any, size_option("size the model works at, e.g. 504x280 (default: the model's)")] = None,
    dtype: Dtype = None,
    offload: Offload = None,
    seed: Annotated[int, Option(help="seed of the random numbers")] = 0,
    option: ModelOptions = None,
    *,
    opening: Opening,
) -> None:
    """Synthesize views of a posed sequence from other views of it.

    Writes pictures, depth, points, a contact sheet, and a report that compares the views with the real frames.
    """
    from gld_ros.evaluation.results import Result, write_report, write_results
    from gld_ros.files import replacing_folder
    from gld_ros.geometry.cameras import nearest
    from gld_ros.pipeline.pipeline import GLDPipeline

    opened = opening.open(sequence)
    count = len(opened.frames)
    for index in [*sources, *targets]:
        if not 0 <= index < count:
            raise InvalidRequest(f"{sequence}: frame {index} does not exist, it has the frames 0 to {count - 1}")
    source_views = [opened.frames[index].view() for index in sources]
    real = [opened.frames[index].view() for index in targets]
    pipe = GLDPipeline.from_pretrained(model, device=device, dtype=dtype, offload=offload)
    with warnings.catch_warnings(record=True) as caught, progress("synthesize", 1.0) as update:
        warnings.simplefilter("always", UserWarning)
        views = pipe(
            source_views,
            [view.camera for view in real],
            steps=steps,
            guidance_scale=guidance,
            size=size,
            seed=seed,
            strict_scale=False,  # the figures against the real frames tell; here a warning is enough
            callback=lambda state: update(completed=state.fraction, description=state.stage),
            options=dict(option or []),
        )
    doubts = sorted({str(w.message) for w in caught if issubclass(w.category, UserWarning)})
    for doubt in doubts:
        print(f"gld: warning: {doubt}", file=sys.stderr)
    results = []
    for index, view, frame in zip(targets, views, real, strict=True):
        copy = source_views[nearest(frame.camera, [source.camera for source in source_views])].image
        arrays = (view.camera, view.image, view.depth, view.confidence, view.generated)
        results.append(Result(f"frame {index}", *arrays, frame, source_views, copy))
    head = {"model": pipe.name, "sources": sources, "targets": targets, "seed": seed}
    scale = views[0].scale
    residual = scale.residual if math.isfinite(scale.residual) else None
    head |= {"scale": {"value": scale.value, "method": scale.method, "residual": residual}, "unit": opened.unit}
    with replacing_folder(out) as new:
        figures = write_results(new, results, opened.unit)
        write_report(new / "report.json", head | {"warnings": doubts} | figures)
