# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`gld synthesize`: views of a posed sequence that were not given to the model, from a folder or a rosbag2."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

if TYPE_CHECKING:
    from gld_ros.views import Progress


def add_parser(subparsers) -> None:
    """Add `gld synthesize`."""
    parser = subparsers.add_parser("synthesize", help="synthesize views of a posed sequence from other views of it")
    parser.add_argument("sequence", type=Path, help="folder with transforms.json, or a rosbag2")
    parser.add_argument("--sources", type=indices, required=True, help="frames given to the model, e.g. 0,5")
    parser.add_argument("--targets", type=indices, required=True, help="frames to synthesize, e.g. 2,3")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument(
        "--model", default="mini", help="name of a model or folder of its weights (default %(default)s)"
    )
    parser.add_argument("--device", help="cuda or cpu (default: the best there is)")
    parser.add_argument("--steps", type=int, help="sampling steps (default: the model's)")
    parser.add_argument("--guidance", type=float, help="guidance scale, 1 = none (default: the model's)")
    parser.add_argument("--size", type=image_size, help="WxH the model works at, e.g. 504x280 (default: the model's)")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), help="of the weights (default: the device's best)")
    parser.add_argument("--offload", choices=("sequential",), help="keep only the component at work on the GPU")
    parser.add_argument("--seed", type=int, default=0, help="of the random numbers (default %(default)s)")
    parser.set_defaults(run=run)


def indices(text: str) -> list[int]:
    """[2, 3] of "2,3"."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: frame numbers separated by commas are expected") from None


def image_size(text: str) -> tuple[int, int]:
    """(H, W) of "WxH"."""
    try:
        width, height = text.lower().split("x")
        return int(height), int(width)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: WIDTHxHEIGHT is expected, e.g. 504x280") from None


def run(args: argparse.Namespace) -> int:
    """Synthesize, compare with the real frames, write pictures, depth, points and report.json."""
    from gld_ros.data.sequence import open_sequence
    from gld_ros.errors import InvalidRequest
    from gld_ros.evaluation.results import Result, write_report, write_results
    from gld_ros.geometry.cameras import nearest
    from gld_ros.pipeline.pipeline import GLDPipeline

    sequence = open_sequence(args.sequence)
    count = len(sequence.frames)
    for index in [*args.sources, *args.targets]:
        if not 0 <= index < count:
            raise InvalidRequest(f"{args.sequence}: frame {index} does not exist, it has the frames 0 to {count - 1}")
    sources = [sequence.frames[index].view() for index in args.sources]
    real = [sequence.frames[index].view() for index in args.targets]
    pipe = GLDPipeline.from_pretrained(args.model, device=args.device, dtype=args.dtype, offload=args.offload)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        views = pipe(
            sources,
            [view.camera for view in real],
            steps=args.steps,
            guidance_scale=args.guidance,
            size=args.size,
            seed=args.seed,
            strict_scale=False,  # the figures against the real frames tell; here a warning is enough
            callback=progress_bar(),
        )
    doubts = sorted({str(w.message) for w in caught if issubclass(w.category, UserWarning)})
    for doubt in doubts:
        print(f"gld: warning: {doubt}", file=sys.stderr)
    results = []
    for index, view, frame in zip(args.targets, views, real, strict=True):
        copy = sources[nearest(frame.camera, [source.camera for source in sources])].image
        arrays = (view.camera, view.image, view.depth, view.confidence, view.generated)
        results.append(Result(f"frame {index}", *arrays, frame, sources, copy))
    figures = write_results(args.out, results, sequence.unit)
    head = {"model": pipe.name, "sources": args.sources, "targets": args.targets, "seed": args.seed}
    scale = views[0].scale
    head |= {"scale": {"value": scale.value, "method": scale.method, "residual": scale.residual}, "unit": sequence.unit}
    write_report(args.out / "report.json", head | {"warnings": doubts} | figures)
    return 0


def progress_bar() -> Callable[[Progress], None]:
    """A callback that draws the request's progress on a terminal."""
    bar = tqdm(total=100, bar_format="{desc} {bar} {n:.0f} %", leave=False, disable=None)

    def update(progress: Progress) -> None:
        bar.set_description(progress.stage)
        bar.update(100 * progress.fraction - bar.n)
        if progress.fraction >= 1:
            bar.close()

    return update
