# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The gains over the plain method, measured one at a time, all together, and as we do it by default.

The plain method: float32, not compiled, camera tables and tokens made anew in each evaluation, the branches of guidance
as two calls, all steps of "exact", sources that are new.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gld_ros.benchmarks.requests import Shape, wall_tensors
from gld_ros.benchmarks.timing import check_repeat, synchronize
from gld_ros.diffusion.conditioning import RequestCameras
from gld_ros.diffusion.flow import Velocity
from gld_ros.diffusion.sampler import Conditioning, Runner, Sampling
from gld_ros.errors import InvalidRequest
from gld_ros.generators.devices import has_bfloat16
from gld_ros.generators.gld import Generated
from gld_ros.generators.gld_family import GLD
from gld_ros.generators.request import Preset
from gld_ros.networks.configs import FlowConfig
from gld_ros.networks.dit import MultiViewDiT
from gld_ros.networks.prope import camera_tables
from gld_ros.pipeline.pipeline import GLDPipeline

GAINS = ("bfloat16", "compiled", "tables once", "one batch", "fewer steps", "sources kept")
#: Of those that are asked for, the one preset that takes fewer steps.
FEWER = "balanced"


class AnewRunner(Runner):
    """Embeds times and cameras anew in each evaluation."""

    def velocity(self, dit: MultiViewDiT, flow: FlowConfig, cond: Conditioning, sampling: Sampling) -> Velocity:
        return lambda x, t: super(AnewRunner, self).velocity(dit, flow, cond, sampling)(x, t)


def check_gains(gains: Sequence[str]) -> None:
    """Raise InvalidRequest for a gain that there is not."""
    if unknown := [gain for gain in gains if gain not in GAINS]:
        raise InvalidRequest(f"gain '{unknown[0]}', expected of {', '.join(GAINS)}")


class Bench:
    """A model in both precisions at one request; runs the method with any set of gains."""

    def __init__(self, folder: Path, device: str | None, shape: Shape, steps: int | None, gains: Sequence[str]) -> None:
        names = ["float32", *(["bfloat16"] if "bfloat16" in gains else [])]
        self.models = {
            name: GLD.of(GLDPipeline.from_pretrained(folder, device, name, local_files_only=True).generator)
            for name in names
        }
        plain = self.models["float32"]
        self.device, self.name, config = plain.device, plain.name, plain.net.config
        self.request = images, K, c2w = wall_tensors(shape, self.device)
        grid = (shape.size[0] // config.encoder.patch, shape.size[1] // config.encoder.patch)
        self.cameras = RequestCameras(K, c2w, images.shape[1], shape.size, grid, config.compat)
        exact = plain.preset("exact").changed(steps)
        self.presets = {False: exact, True: scaled(plain.preset(FEWER), plain.preset("exact"), exact, config.flow)}
        self.latents = {name: model.diffusion.latents_of(images) for name, model in self.models.items()}
        self.runners: dict[tuple, Runner] = {}

    def run(self, gains: Sequence[str], preset: Preset | None = None) -> Generated:
        """One request with these gains."""
        dtype = "bfloat16" if "bfloat16" in gains else "float32"
        diffusion, compiled = self.models[dtype].diffusion, "compiled" in gains
        once, joined = "tables once" in gains, "one batch" in gains
        key = dtype, compiled, once, joined
        if key not in self.runners:
            self.runners[key] = (Runner if once else AnewRunner)(self.device, compiled, joined)
        diffusion.runner = self.runners[key]
        latents = self.latents[dtype] if "sources kept" in gains else None
        with self.tables_anew(() if once or compiled else (diffusion.net.level1, diffusion.net.level0)):
            return diffusion.denoise(*self.request, preset or self.presets["fewer steps" in gains], latents=latents)

    @contextmanager
    def tables_anew(self, dits: Sequence[MultiViewDiT]) -> Iterator[None]:
        """Inside, each attention makes its table of the cameras, too: the work without the benefit."""
        hooks = []
        cameras = self.cameras
        for dit in dits:
            for k, block in enumerate(dit.blocks):
                told = cameras.size, cameras.grid, dit.head_dims[k >= dit.config.depth], dit.config.compat

                def make(module: torch.nn.Module, args: tuple, told: tuple = told) -> None:
                    camera_tables(cameras.K, cameras.w2c, *told)

                hooks.append(block.register_forward_pre_hook(make))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


def scaled(preset: Preset, exact: Preset, asked: Preset, flow: FlowConfig) -> Preset:
    """`preset` in as many steps as keep its share of the evaluations of `exact`, where `asked` has fewer steps."""

    def evaluations(how: Sampling) -> int:
        return sum(how.evaluations(flow.t_end))

    sampling = {}
    for stage, how in preset.sampling.items():
        wanted = evaluations(how) * evaluations(asked.sampling[stage]) / evaluations(exact.sampling[stage])
        counts = [replace(how, steps=n) for n in range(1, how.steps + 1)]
        sampling[stage] = min(counts, key=lambda one: abs(evaluations(one) - wanted))
    return replace(preset, sampling=sampling)


@torch.inference_mode()
def measure(
    folder: Path,
    device: str | None,
    shape: Shape,
    steps: int | None = None,
    repeat: int = 3,
    gains: Sequence[str] = GAINS,
    tick: Callable[[None], None] = lambda state: None,
) -> dict[str, Any]:
    """The factor of each gain: seconds of the plain method by those with it, the median of `repeat` rounds.

    A round runs the plain method and every variant once. On a CPU the seconds are CPU seconds of this process in one
    thread, which other processes change little; on a GPU those of the clock. steps: of both levels for "exact", and
    as many fewer of "balanced". image_psnr_db: of the images to those of the plain method. Raises InvalidRequest for
    an unknown gain and ModelError for a model of another family.
    """
    check_repeat(repeat)
    check_gains(gains)
    bench = Bench(folder, device, shape, steps, gains)
    cpu = bench.device.type == "cpu"
    if cpu:
        torch.set_num_threads(1)
    default = ["tables once"] + ["one batch"] * (not cpu) + ["bfloat16"] * has_bfloat16(bench.device)
    variants: dict[str, Sequence[str]] = {"plain": (), **{gain: (gain,) for gain in gains}}
    variants |= {"all together": gains, "as by default, new sources": [gain for gain in default if gain in gains]}
    warm = replace(bench.presets[False]).changed(3 if not cpu else 1)
    for chosen in variants.values():  # compiles; CUDA graphs are recorded in the second run of a shape
        bench.run(chosen, warm)
        if "compiled" in chosen:
            bench.run(chosen)
    clock = time.process_time if cpu else time.perf_counter
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    images: dict[str, torch.Tensor] = {}
    for _ in range(repeat):
        for name, chosen in variants.items():
            synchronize(bench.device)
            began = clock()
            made = bench.run(chosen)
            synchronize(bench.device)
            seconds[name].append(clock() - began)
            images[name] = made.image.clamp(0, 1)
            tick(None)
    rows = []
    for name, chosen in variants.items():
        factors = np.divide(seconds["plain"], seconds[name])
        error = (images[name] - images["plain"]).square().mean()
        rows.append(
            {
                "variant": name,
                "gains": list(chosen),
                "seconds": float(np.median(seconds[name])),
                "factor": {
                    "mean": float(np.median(factors)),
                    "low": float(factors.min()),
                    "high": float(factors.max()),
                },
                "image_psnr_db": float(-10 * error.clamp_min(1e-12).log10()),
            }
        )
    counts = {
        name: [how.steps for how in bench.presets[fewer].sampling.values()]
        for name, fewer in (("exact", False), (FEWER, True))
    }
    return {
        "model": bench.name,
        "views": [shape.sources, shape.targets],
        "size": [shape.size[1], shape.size[0]],
        "device": bench.device.type,
        "clock": "CPU seconds in one thread" if cpu else "seconds",
        "steps": counts,
        "repeat": repeat,
        "variants": rows,
    }
