# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`gld bench`: what a model needs and how fast it is, measured (docs/performance.md)."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from gld_ros.cli.bench_options import add_device, add_output, add_shapes, bar, opened, view_counts
from gld_ros.cli.synthesize import image_size

MODEL_HELP = "mini, gld-da3 or gld-vggt with random weights, or a model folder"


def add_parser(subparsers) -> None:
    """Add `gld bench` and its subcommands."""
    parser = subparsers.add_parser("bench", help="measure what a model needs and how fast it is")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add_latency(commands.add_parser("latency", help="whole requests, their stages, and how well the device is used"))
    add_quality(commands.add_parser("quality", help="what fewer steps and presets cost, on held-out rooms"))
    add_scaling(commands.add_parser("scaling", help="latency against views, pixels and requests at the same time"))
    add_node(commands.add_parser("node", help="gld_node over DDS: cost of cameras, memory, overhead of requests"))
    add_budget(commands.add_parser("budget", help="are time budgets kept? random ones by the real clock"))
    add_memory(commands.add_parser("memory", help="peak memory of loading a model and of one request"))
    add_all(commands.add_parser("all", help="every figure of docs/performance.md"))


def add_latency(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"{MODEL_HELP} (default mini)")
    add_shapes(parser, views=[(2, 1)], sizes=[(280, 504)])
    parser.add_argument("--steps", type=int, help="of each level (default: the model's)")
    parser.add_argument("--guidance", type=float, help="guidance scale, 1 = none (default: the model's)")
    parser.add_argument("--preset", nargs="+", default=[], metavar="NAME", help="presets of the pipeline")
    parser.add_argument("--repeat", type=int, default=10, help="requests of each kind (default %(default)s)")
    parser.add_argument(
        "--compare",
        type=Path,
        metavar="FOLDER",
        help="run the official GLD code in FOLDER, too, on the same weights, inputs and noise",
    )
    parser.add_argument("--plain", action="store_true", help="and the plain eager float32 path, with the ratio to it")
    add_device(parser)
    add_output(parser, run_latency)


def add_quality(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", nargs="?", default="mini", help=f"{MODEL_HELP} (default mini)")
    parser.add_argument("--steps", type=int, nargs="+", default=[], metavar="N", help="numbers of steps to compare")
    parser.add_argument("--preset", nargs="+", default=[], metavar="NAME", help="presets to compare")
    parser.add_argument("--reference-steps", type=int, help="of the reference (default: exact, or the model's own)")
    parser.add_argument("--scenes", type=int, default=20, help="held-out rooms (default %(default)s)")
    parser.add_argument("--split", choices=("val", "test"), default="val", help="which rooms (default %(default)s)")
    parser.add_argument("--lpips", type=Path, help="folder with the weights of LPIPS, for its distance too")
    add_device(parser)
    add_output(parser, run_quality)


def add_scaling(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", nargs="?", default="mini", help=f"{MODEL_HELP} (default mini)")
    add_shapes(
        parser, views=[(2, 1), (2, 2), (2, 4), (4, 4)], sizes=[(280, 504), (140, 252), (504, 504)], note="; the first "
    )
    parser.add_argument(
        "--parallel", type=int, nargs="*", default=[1, 2, 4], metavar="N", help="requests at the same time"
    )
    parser.add_argument("--steps", type=int, help="of each level (default: the model's)")
    parser.add_argument("--preset", default=None, metavar="NAME", help="preset of the pipeline")
    parser.add_argument("--repeat", type=int, default=5, help="requests of each kind (default %(default)s)")
    add_device(parser)
    add_output(parser, run_scaling)


def add_node(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default="mini", help="mini or the folder of a trained model (default mini)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="of the node's model")
    parser.add_argument("--frames", type=int, default=10_000, help="images of each camera (default %(default)s)")
    parser.add_argument("--cameras", type=int, default=1, help="1 to 4 (default %(default)s)")
    parser.add_argument("--size", type=image_size, default=(720, 1280), help="WxH of the images (default 1280x720)")
    parser.add_argument("--rate", type=float, default=30.0, help="images a second of each camera (default 30)")
    parser.add_argument("--requests", type=int, default=20, help="asked of the service (default %(default)s)")
    add_output(parser, run_node)


def add_budget(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", nargs="?", default="mini", help=f"{MODEL_HELP} (default mini)")
    parser.add_argument("--budgets", type=int, default=200, metavar="N", help="how many (default %(default)s)")
    parser.add_argument("--views", type=view_counts, default=(2, 1), metavar="S+T", help="default 2+1")
    parser.add_argument("--size", type=image_size, default=(240, 320), metavar="WxH", help="default 320x240")
    parser.add_argument("--seed", type=int, default=0, help="of the budgets (default %(default)s)")
    add_device(parser)
    add_output(parser, run_budget)


def add_memory(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", nargs="?", default="gld-da3", help=f"{MODEL_HELP} (default gld-da3)")
    parser.add_argument("--views", type=view_counts, default=(2, 1), help="sources+targets (default 2+1)")
    parser.add_argument("--size", type=image_size, default=(224, 224), help="WxH (default 224x224)")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="bfloat16", help="default %(default)s")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default %(default)s)")
    parser.add_argument("--offload", choices=("sequential",), help="keep only the component at work on the GPU")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)  # the process that is measured
    add_output(parser, run_memory)


def add_all(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default="gld-da3", help="released model or its folder (default %(default)s)")
    parser.add_argument("--official", type=Path, metavar="FOLDER", help="checkout of the official GLD code to compare")
    parser.add_argument("--out", type=Path, required=True, help="folder of all reports")
    parser.set_defaults(run=run_all)


def run_latency(args: argparse.Namespace) -> int:
    """Every model x size x views x variant."""
    from gld_ros.benchmarks import latency, official, report
    from gld_ros.benchmarks.plain import measure_plain
    from gld_ros.benchmarks.requests import Shape
    from gld_ros.benchmarks.timing import check_repeat
    from gld_ros.benchmarks.variants import requested
    from gld_ros.benchmarks.work import matrix_peak
    from gld_ros.errors import InvalidRequest
    from gld_ros.pipeline.pipeline import GLDPipeline
    from gld_ros.reports import benchmark_tables as tables

    check_repeat(args.repeat)
    if args.plain and (args.steps is not None or args.guidance is not None):
        raise InvalidRequest("--plain runs the model's own steps and guidance: give it without --steps and --guidance")
    variants = requested(args.preset, args.steps, args.guidance)
    shapes = [Shape(S, T, size) for size in args.size for S, T in args.views]
    rows, compared, plain = [], [], []
    for model in args.models or ["mini"]:
        with opened(args, model) as (pipe, folder):
            peak = matrix_peak(pipe.device, pipe.synthesis.dtype)
            for shape in shapes:
                for variant in variants:
                    with bar(latency.timed_requests(args.repeat), f"{pipe.name} {variant.name} {shape}") as tick:
                        rows.append(latency.measure(pipe, shape, variant, args.repeat, peak, tick))
                if args.plain:
                    plain.append(measure_plain(folder, pipe.device.type, shape, args.repeat))
                if args.compare:
                    reference = GLDPipeline.from_pretrained(folder, args.device, "float32", local_files_only=True)
                    compared.append(official.measure(pipe, reference, args.compare, shape, args.steps))
    figures = {"cases": rows} | ({"compare": compared} if compared else {}) | ({"plain": plain} if plain else {})
    parts = [tables.latency_table(rows), *([tables.compare_table(compared)] if compared else [])]
    table = "\n\n".join(parts + ([tables.plain_table(plain, rows)] if plain else []))
    report.show(report.complete("latency", figures), table, args.json, args.out)
    return 0


def run_quality(args: argparse.Namespace) -> int:
    """Variants against a reference on the same noise."""
    from gld_ros.benchmarks import quality, report
    from gld_ros.benchmarks.variants import compared
    from gld_ros.evaluation.rooms import room_scenes
    from gld_ros.metrics.lpips import LPIPS
    from gld_ros.reports import benchmark_tables as tables

    reference, variants = compared(args.preset, args.steps, args.reference_steps)
    net = LPIPS.from_folder(args.lpips) if args.lpips else None
    lpips = None if net is None else (lambda a, b: net.distances(a, b)[0])
    with opened(args, args.model) as (pipe, _):
        with bar(args.scenes * (1 + len(variants)), f"quality of {pipe.name}") as tick:
            found = quality.measure(pipe, room_scenes(args.split, args.scenes), reference, variants, lpips, tick)
    found |= {"split": args.split}
    report.show(report.complete("quality", found), tables.quality_table(found), args.json, args.out)
    return 0


def run_scaling(args: argparse.Namespace) -> int:
    """Views at the first size, sizes at the first number of views, threads at both."""
    from gld_ros.benchmarks import latency, report, scaling
    from gld_ros.benchmarks.requests import Shape
    from gld_ros.benchmarks.variants import requested
    from gld_ros.reports import benchmark_tables as tables

    (variant,) = requested([args.preset] if args.preset else [], args.steps, None)
    by_views = [Shape(S, T, args.size[0]) for S, T in args.views]
    by_pixels = [replace(by_views[0], size=size) for size in sorted(args.size, key=lambda size: size[0] * size[1])]
    figures: dict[str, Any] = {"views": [], "pixels": [], "parallel": []}
    with opened(args, args.model) as (pipe, _):
        for axis, shapes in (("views", by_views), ("pixels", by_pixels)):
            for shape in shapes:
                with bar(latency.timed_requests(args.repeat), f"{pipe.name} {shape}") as tick:
                    figures[axis].append(latency.measure(pipe, shape, variant, args.repeat, None, tick))
        for clients in args.parallel:
            with bar(clients * args.repeat, f"{pipe.name} {clients} at the same time") as tick:
                row = scaling.in_parallel(pipe, by_views[0], variant, clients, args.repeat, tick)
            figures["parallel"].append(row)
    report.show(report.complete("scaling", figures), tables.scaling_table(figures), args.json, args.out)
    return 0


def run_node(args: argparse.Namespace) -> int:
    """The node in a process of its own. Raises InvalidRequest without ROS."""
    from gld_ros.benchmarks import report
    from gld_ros.errors import InvalidRequest
    from gld_ros.reports import benchmark_tables as tables

    try:
        from gld_ros.ros.bench import bench
    except ImportError as error:
        raise InvalidRequest(f"`gld bench node` needs ROS 2 with this package built and sourced: {error}") from error
    run = bench.NodeRun(args.model, args.device, args.frames, args.cameras, args.size, args.rate, args.requests)
    with bar(args.frames + 2 * args.requests, "gld_node") as tick:
        figures = bench.measure(run, tick)
    report.show(report.complete("node", figures), tables.node_table(figures), args.json, args.out)
    return 0


def run_budget(args: argparse.Namespace) -> int:
    """Random budgets; exit code 1 where one was not kept."""
    from gld_ros.benchmarks import budget, report
    from gld_ros.benchmarks.requests import Shape
    from gld_ros.reports import benchmark_tables as tables

    with opened(args, args.model) as (pipe, _), bar(args.budgets, f"budgets of {pipe.name}") as tick:
        shape = Shape(args.views[0], args.views[1], args.size)
        found = budget.measure(pipe, shape, args.budgets, args.seed, tick)
    report.show(report.complete("budget", found), tables.budget_table(found), args.json, args.out)
    return int(not found["kept"])


def run_memory(args: argparse.Namespace) -> int:
    """Measure in a process of its own and print the figures."""
    from gld_ros.benchmarks import report
    from gld_ros.benchmarks.requests import model_folder
    from gld_ros.evaluation.memory_use import memory_of_request
    from gld_ros.reports import benchmark_tables as tables

    if args.measure:
        folder, (sources, targets) = Path(args.model), args.views
        found = memory_of_request(folder, sources, targets, args.size, args.dtype, args.device, args.offload)
        print(json.dumps(found))
        return 0
    with model_folder(args.model, args.dtype) as model:
        command = [sys.executable, "-m", "gld_ros.cli", "bench", "memory", model, "--measure"]
        command += ["--views", "+".join(map(str, args.views)), "--size", f"{args.size[1]}x{args.size[0]}"]
        command += ["--dtype", args.dtype, "--device", args.device]
        command += ["--offload", args.offload] if args.offload else []
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        return done.returncode
    found = json.loads(done.stdout)
    report.show(report.complete("memory", found), tables.memory_table(found), args.json, args.out)
    return 0


def run_all(args: argparse.Namespace) -> int:
    """Every benchmark in a process of its own; 1 where one failed."""
    import torch

    from gld_ros.benchmarks import suite
    from gld_ros.benchmarks.requests import model_folder

    cuda = torch.cuda.is_available()
    if not cuda:
        print("gld bench all: no CUDA device, the figures of a GPU are left out", file=sys.stderr)
    with model_folder(args.model) if cuda else tempfile.TemporaryDirectory() as released:
        codes = suite.run(args.out, cuda, released, args.official)
    for name, code in codes.items():
        print(f"{args.out / name / 'report.json'}: {'written' if code == 0 else f'failed with exit code {code}'}")
    return int(any(codes.values()))
