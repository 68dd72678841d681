# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the commands of `gld bench` share: options, the pipeline they ask for, a progress bar."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from gld_ros.cli.synthesize import image_size

if TYPE_CHECKING:
    from gld_ros.benchmarks.latency import Tick
    from gld_ros.pipeline.pipeline import GLDPipeline
    from gld_ros.views import Progress


def add_shapes(
    parser: argparse.ArgumentParser, views: list[tuple[int, int]], sizes: list[tuple[int, int]], note: str = ""
) -> None:
    """--views and --size, several each."""
    note = f"{note}counts where the other axis varies" if note else ""
    parser.add_argument(
        "--views", type=view_counts, nargs="+", default=views, metavar="S+T", help=f"sources+targets{note}"
    )
    parser.add_argument("--size", type=image_size, nargs="+", default=sizes, metavar="WxH", help=f"of the images{note}")


def add_device(parser: argparse.ArgumentParser) -> None:
    """Where and in what the model runs."""
    parser.add_argument("--device", help="cuda or cpu (default: the best there is)")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), help="of the weights (default: the device's best)")
    parser.add_argument("--offload", choices=("sequential",), help="keep only the component at work on the GPU")
    parser.add_argument("--compile", action="store_true", help="the diffusion networks, for each shape")
    parser.add_argument("--quantize", choices=("int8", "fp8"), help="weights in 8 bits (needs torchao)")


def add_output(parser: argparse.ArgumentParser, run: Any) -> None:
    """What all benchmarks leave, and what runs them."""
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--out", type=Path, help="folder for report.json, the table and plots")
    parser.set_defaults(run=run)


def view_counts(text: str) -> tuple[int, int]:
    """(2, 1) of "2+1"."""
    try:
        sources, targets = text.split("+")
        return int(sources), int(targets)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: SOURCES+TARGETS is expected, e.g. 2+1") from None


@contextmanager
def bar(total: int, description: str) -> Iterator[Tick]:
    """A progress bar on a terminal; its Tick shows a request's progress and counts requests."""
    with tqdm(total=total, desc=description, leave=False, disable=None) as shown:

        def tick(progress: Progress | None) -> None:
            if progress is None:
                shown.update(1)
            else:
                shown.set_postfix_str(f"warming up: {progress.stage} {progress.fraction:.0%}")

        yield tick


@contextmanager
def opened(args: argparse.Namespace, model: str) -> Iterator[tuple[GLDPipeline, Path]]:
    """The pipeline of a model on the device and in the dtype asked for, and where its weights are."""
    from gld_ros.benchmarks.requests import model_folder
    from gld_ros.pipeline.pipeline import GLDPipeline
    from gld_ros.weights.hub import resolve

    with model_folder(model, args.dtype) as name:
        engine = {"compile": args.compile, "quantize": args.quantize}
        pipe = GLDPipeline.from_pretrained(name, args.device, args.dtype, args.offload, local_files_only=True, **engine)
        yield pipe, resolve(name, local_files_only=True)
