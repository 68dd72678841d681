# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`gld bench`: what a model needs and how fast it is, measured (docs/performance.md)."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from typer import Argument, Exit, Option, Typer

from gld_ros.cli.options import (
    Device,
    DeviceKind,
    Dtype,
    Guidance,
    Offload,
    Precision,
    SeveralValues,
    Steps,
    grouped,
    progress,
    size_option,
    views_option,
)
from gld_ros.errors import InvalidRequest

if TYPE_CHECKING:
    from gld_ros.benchmarks.latency import Tick
    from gld_ros.pipeline.pipeline import GLDPipeline
    from gld_ros.views import Progress

app = Typer(help="Measure what a model needs and how fast it is.", no_args_is_help=True)

MODEL_HELP = "mini, gld-da3 or gld-vggt with random weights, or a model folder"
Model = Annotated[str, Argument(help=MODEL_HELP)]
Presets = Annotated[list[str] | None, Option(metavar="NAME ...", help="presets of the pipeline")]
OneSize = Annotated[Any, size_option("size of the images")]
OneViews = Annotated[Any, views_option("sources+targets")]
Repeat = Annotated[int, Option(help="requests of each kind")]
SIZES = ((280, 504), (140, 252), (504, 504))
VIEWS = ((2, 1), (2, 2), (2, 4), (4, 4))


@dataclass(frozen=True)
class Running:
    """The device that a model runs on, and its precision."""

    device: Device = None
    dtype: Dtype = None
    offload: Offload = None
    compiled: Annotated[bool, Option("--compile", help="compile the diffusion networks, for each shape")] = False
    quantize: Annotated[Literal["int8", "fp8"] | None, Option(help="weights in 8 bits (needs torchao)")] = None

    @contextmanager
    def opened(self, model: str) -> Iterator[tuple[GLDPipeline, Path]]:
        """The pipeline of a model, and where its weights are."""
        from gld_ros.benchmarks.requests import model_folder
        from gld_ros.pipeline.pipeline import GLDPipeline
        from gld_ros.weights.hub import resolve

        with model_folder(model, self.dtype) as name:
            engine: dict[str, Any] = {"compile": self.compiled, "quantize": self.quantize}
            where = (self.device, self.dtype, self.offload)
            pipe = GLDPipeline.from_pretrained(name, *where, local_files_only=True, **engine)
            yield pipe, resolve(name, local_files_only=True)


@dataclass(frozen=True)
class Output:
    """How the figures are shown."""

    as_json: Annotated[bool, Option("--json", help="print the figures as JSON")] = False
    out: Annotated[Path | None, Option(help="folder for report.json, the table and plots")] = None

    def show(self, kind: str, figures: dict[str, Any]) -> None:
        """Print the figures of a benchmark and leave them in the folder."""
        from gld_ros.benchmarks.report import finish

        finish(kind, figures, self.as_json, self.out)


@contextmanager
def ticks(total: int, description: str) -> Iterator[Tick]:
    """A progress bar; its Tick shows a request's progress and counts requests."""
    with progress(description, total) as update:

        def tick(state: Progress | None) -> None:
            if state is None:
                update(1, description=description)
            else:
                update(description=f"{description}, warming up: {state.stage} {state.fraction:.0%}")

        yield tick


@app.command(cls=SeveralValues)
@grouped
def latency(
    models: Annotated[list[str] | None, Argument(metavar="MODEL", help=f"{MODEL_HELP} (default: mini)")] = None,
    views: Annotated[list[Any] | None, views_option("sources+targets (default: 2+1)", "S+T ...")] = None,
    size: Annotated[list[Any] | None, size_option("size of the images (default: 504x280)", "WxH ...")] = None,
    steps: Steps = None,
    guidance: Guidance = None,
    preset: Presets = None,
    repeat: Repeat = 10,
    compare: Annotated[
        Path | None,
        Option(metavar="FOLDER", help="checkout of the official GLD code: measure it and ours in turn instead"),
    ] = None,
    *,
    running: Running,
    output: Output,
) -> None:
    """Measure whole requests, their stages, and how well the device is used."""
    import torch

    from gld_ros.benchmarks import latency, official
    from gld_ros.benchmarks.requests import Shape, requested
    from gld_ros.benchmarks.timing import check_repeat, matrix_peak
    from gld_ros.pipeline.pipeline import GLDPipeline

    check_repeat(repeat)
    if compare and (preset or guidance is not None):
        raise InvalidRequest("--compare runs both codes as released: --preset and --guidance do not go with it")
    if compare:
        official.check_code(compare)
    variants = requested(preset or [], steps, guidance)
    shapes = [Shape(S, T, pixels) for pixels in size or SIZES[:1] for S, T in views or VIEWS[:1]]
    rows, compared = [], []
    for model in models or ["mini"]:
        with running.opened(model) as (pipe, folder):
            if compare:
                plain = pipe.generator.dtype is torch.float32 and not (
                    running.compiled or running.quantize or running.offload
                )
                reference = (
                    pipe
                    if plain
                    else GLDPipeline.from_pretrained(folder, str(pipe.device), "float32", local_files_only=True)
                )
                for shape in shapes:
                    with ticks(2 * repeat, f"{pipe.name} and the official code {shape}") as tick:
                        compared.append(official.measure(pipe, reference, compare, shape, steps, repeat, tick))
                continue
            peak = matrix_peak(pipe.device, pipe.generator.dtype)
            for shape in shapes:
                for variant in variants:
                    with ticks(latency.timed_requests(repeat), f"{pipe.name} {variant.name} {shape}") as tick:
                        rows.append(latency.measure(pipe, shape, variant, repeat, peak, tick))
    output.show("latency", {"cases": rows} | ({"compare": compared} if compared else {}))


@app.command(cls=SeveralValues)
@grouped
def quality(
    model: Model = "mini",
    steps: Annotated[list[int] | None, Option(metavar="N ...", help="numbers of steps to compare")] = None,
    preset: Annotated[list[str] | None, Option(metavar="NAME ...", help="presets to compare")] = None,
    reference_steps: Annotated[int | None, Option(help="steps of the reference (default: those of exact)")] = None,
    scenes: Annotated[int, Option(help="held-out rooms")] = 20,
    split: Annotated[Literal["val", "test"], Option(help="which rooms")] = "val",
    lpips: Annotated[Path | None, Option(help="folder with the weights of LPIPS, for its distance too")] = None,
    *,
    running: Running,
    output: Output,
) -> None:
    """Measure what fewer steps and presets cost, on held-out rooms, against a reference on the same noise."""
    from gld_ros.benchmarks import quality
    from gld_ros.benchmarks.requests import compared
    from gld_ros.evaluation.scenes import room_scenes
    from gld_ros.metrics.lpips import LPIPS

    reference, variants = compared(preset or [], steps or [], reference_steps)
    net = LPIPS.from_folder(lpips) if lpips else None
    distance = None if net is None else (lambda a, b: net.distances(a, b)[0])
    with running.opened(model) as (pipe, _):
        with ticks(scenes * (1 + len(variants)), f"quality of {pipe.name}") as tick:
            figures = quality.measure(pipe, room_scenes(split, scenes), reference, variants, distance, tick)
    output.show("quality", figures | {"split": split})


@app.command(cls=SeveralValues)
@grouped
def scaling(
    model: Model = "mini",
    views: Annotated[list[Any] | None, views_option("sources+targets (default: 2+1 2+2 2+4 4+4)", "S+T ...")] = None,
    size: Annotated[list[Any] | None, size_option("sizes (default: 504x280 252x140 504x504)", "WxH ...")] = None,
    parallel: Annotated[
        list[int] | None, Option(metavar="N ...", help="parallel requests; 0: none (default: 1 2 4)")
    ] = None,
    steps: Steps = None,
    preset: Annotated[str | None, Option(metavar="NAME", help="preset of the pipeline")] = None,
    repeat: Repeat = 5,
    *,
    running: Running,
    output: Output,
) -> None:
    """Measure latency against views (at the first size), sizes (at the first views) and requests at the same time."""
    from gld_ros.benchmarks import latency
    from gld_ros.benchmarks.requests import Shape, requested

    (variant,) = requested([preset] if preset else [], steps, None)
    sizes = list(size or SIZES)
    by_views = [Shape(S, T, sizes[0]) for S, T in views or VIEWS]
    by_pixels = [
        replace(by_views[0], size=pixels) for pixels in sorted(sizes, key=lambda pixels: pixels[0] * pixels[1])
    ]
    figures: dict[str, Any] = {"views": [], "pixels": [], "parallel": []}
    with running.opened(model) as (pipe, _):
        for axis, shapes in (("views", by_views), ("pixels", by_pixels)):
            for shape in shapes:
                with ticks(latency.timed_requests(repeat), f"{pipe.name} {shape}") as tick:
                    figures[axis].append(latency.measure(pipe, shape, variant, repeat, None, tick))
        for clients in filter(None, parallel or [1, 2, 4]):
            with ticks(clients * repeat, f"{pipe.name} {clients} at the same time") as tick:
                row = latency.in_parallel(pipe, by_views[0], variant, clients, repeat, tick)
            figures["parallel"].append(row)
    output.show("scaling", figures)


@app.command()
@grouped
def node(
    model: Annotated[str, Option(help="mini or the folder of a trained model")] = "mini",
    device: Annotated[DeviceKind, Option(help="where the model of the node runs")] = "auto",
    frames: Annotated[int, Option(help="images of each camera")] = 10_000,
    cameras: Annotated[int, Option(help="number of cameras, 1 to 4")] = 1,
    size: OneSize = "1280x720",
    rate: Annotated[float, Option(help="images a second of each camera")] = 30.0,
    requests: Annotated[int, Option(help="requests to the service")] = 20,
    *,
    output: Output,
) -> None:
    """Measure gld_node over DDS: cost of cameras, memory, overhead of requests."""
    try:
        from gld_ros.ros.bench import bench
    except ImportError as error:
        raise InvalidRequest(f"`gld bench node` needs ROS 2 with this package built and sourced: {error}") from error
    run = bench.NodeRun(model, device, frames, cameras, size, rate, requests)
    with ticks(frames + 2 * requests, "gld_node") as tick:
        figures = bench.measure(run, tick)
    output.show("node", figures)


@app.command()
@grouped
def memory(
    model: Model = "gld-da3",
    views: OneViews = "2+1",
    size: OneSize = "224x224",
    dtype: Annotated[Precision, Option(help="precision of the weights")] = "bfloat16",
    device: Annotated[str, Option(help="cpu or cuda")] = "cpu",
    offload: Offload = None,
    measure: Annotated[bool, Option("--measure", hidden=True)] = False,  # the process that is measured
    *,
    output: Output,
) -> None:
    """Measure the peak memory of loading a model and of one request."""
    from gld_ros.benchmarks.memory import memory_of_request
    from gld_ros.benchmarks.requests import Shape, model_folder

    shape = Shape(views[0], views[1], size)
    if measure:
        print(json.dumps(memory_of_request(Path(model), shape, dtype, device, offload)))
        return
    with model_folder(model, dtype) as folder:
        command = [sys.executable, "-m", "gld_ros.cli", "bench", "memory", folder, "--measure", "--dtype", dtype]
        command += ["--views", shape.views, "--size", f"{size[1]}x{size[0]}", "--device", device]
        command += ["--offload", offload] if offload else []
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise Exit(done.returncode)
    output.show("memory", json.loads(done.stdout))
