"""`gld bench`: what a model needs, measured."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from gld_ros.cli.synthesize import image_size


def add_parser(subparsers) -> None:
    """Add `gld bench` and its subcommands."""
    parser = subparsers.add_parser("bench", help="measure what a model needs")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    memory = commands.add_parser("memory", help="peak memory of loading a model and of one request")
    memory.add_argument(
        "model", nargs="?", default="gld-da3", help="gld-da3 or gld-vggt, with random weights, or a model folder"
    )
    memory.add_argument("--views", type=view_counts, default=(2, 1), help="sources+targets (default 2+1)")
    memory.add_argument("--size", type=image_size, default=(224, 224), help="WxH (default 224x224)")
    memory.add_argument("--dtype", choices=("float32", "bfloat16"), default="bfloat16", help="default %(default)s")
    memory.add_argument("--device", default="cpu", help="cpu or cuda (default %(default)s)")
    memory.add_argument("--offload", choices=("sequential",), help="keep only the component at work on the GPU")
    memory.add_argument("--json", action="store_true", help="print the figures as JSON")
    memory.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)  # the process that is measured
    memory.set_defaults(run=run_memory)


def view_counts(text: str) -> tuple[int, int]:
    """(2, 1) of "2+1"."""
    try:
        sources, targets = text.split("+")
        return int(sources), int(targets)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: SOURCES+TARGETS is expected, e.g. 2+1") from None


def run_memory(args: argparse.Namespace) -> int:
    """Measure in a process of its own and print the figures."""
    from gld_ros.evaluation.memory_use import memory_of_request, write_random_model
    from gld_ros.models.released import MODELS

    if args.measure:
        folder, (sources, targets) = Path(args.model), args.views
        report = memory_of_request(folder, sources, targets, args.size, args.dtype, args.device, args.offload)
        print(json.dumps(report))
        return 0
    with tempfile.TemporaryDirectory(prefix="gld-bench-") as scratch:
        model = args.model
        if args.model in MODELS:
            model = scratch
            print(f"writing {args.model} with random weights to {scratch}", file=sys.stderr)
            write_random_model(MODELS[args.model], Path(scratch), args.dtype)
        command = [sys.executable, "-m", "gld_ros.cli", "bench", "memory", model, "--measure"]
        command += ["--views", "+".join(map(str, args.views)), "--size", f"{args.size[1]}x{args.size[0]}"]
        command += ["--dtype", args.dtype, "--device", args.device]
        command += ["--offload", args.offload] if args.offload else []
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        return done.returncode
    report = json.loads(done.stdout)
    if args.json:
        print(json.dumps(report, indent=1))
        return 0
    for name in ("weights_bytes", "resident_before", "resident_loaded", "peak_loading", "peak_resident"):
        print(f"{name.replace('_', ' '):16} {report[name] / 1e9:7.2f} GB")
    print(f"{'peak / weights':16} {report['peak_over_weights']:7.2f}")
    for name in ("peak_allocated", "peak_reserved"):
        if name in report:
            print(f"{name.replace('_', ' '):16} {report[name] / 1e9:7.2f} GB on the GPU")
    return 0
