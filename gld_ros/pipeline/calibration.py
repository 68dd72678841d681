# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The cost model of this machine: measured with a handful of requests, kept in the user's cache folder."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gld_ros.errors import ModelError
from gld_ros.files import write_text
from gld_ros.generators.method import Options
from gld_ros.generators.timer import Stopwatch
from gld_ros.geometry.cameras import Camera
from gld_ros.networks.gld import GLDNetworks
from gld_ros.pipeline.budget import smaller
from gld_ros.pipeline.costs import CostModel, Measured, demands, fit
from gld_ros.pipeline.request import working_size
from gld_ros.pipeline.wall import BASELINE, DISTANCE, Wall
from gld_ros.views import SourceView

if TYPE_CHECKING:
    from gld_ros.pipeline.pipeline import GLDPipeline

log = logging.getLogger(__name__)
#: Steps of each level in a measured request.
STEPS = 2
#: Seconds after which a measurement that nobody asked for ends.
QUICK = 60.0


@dataclass(frozen=True)
class Probe:
    """A measured request. size: (H, W) of its cameras; share: of the working size along each side."""

    sources: int
    targets: int
    size: tuple[int, int]
    share: float = 1.0
    guidance_scale: float | None = None


#: Sources, targets, pixels, tokens and guidance each vary.
PROBES = (
    Probe(2, 1, (240, 320)),
    Probe(1, 1, (480, 640), guidance_scale=1.0),
    Probe(4, 1, (240, 320)),
    Probe(2, 2, (480, 640)),
    Probe(2, 1, (480, 640), 0.5),
)


def calibrated(pipe: GLDPipeline) -> CostModel:
    """The stored model; without one that can be read it is measured, stored and said so."""
    path = stored_at(pipe)
    if path.is_file():
        try:
            return load(path)
        except ModelError as error:
            log.warning("%s", error)
    began = pipe.clock()
    model = measure(pipe, limit=QUICK)
    log.warning("the speed of '%s' on this machine was measured in %.1f s: %s", pipe.name, pipe.clock() - began, path)
    try:
        save(path, model, identity(pipe))
    except OSError as error:
        log.warning("%s: not written, the next process measures again (%s)", path, error)
    return model


def measure(
    pipe: GLDPipeline,
    repeat: int = 1,
    limit: float = math.inf,
    progress: Callable[[Sequence[Probe]], Iterable[Probe]] = iter,
) -> CostModel:
    """The cost model of a pipeline by `repeat` requests of each kind, and some before that to warm up.

    limit: seconds after which no kind is begun, but for the first two. progress: goes through the kinds, and may show
    it. Raises what the pipeline raises.
    """
    config, began = pipe.net.config, pipe.clock()
    measured: list[dict[str, Measured]] = []
    for number, probe in enumerate(progress(PROBES)):
        if number > 1 and pipe.clock() - began > limit:
            break
        most = min(probe.sources, config.max_sources, (config.max_views or 99) - probe.targets)
        sources, targets = wall_views(replace(probe, sources=most))
        size = smaller(working_size(targets[0], config), probe.share, config.encoder.patch)
        options = Options(size, steps=STEPS, guidance_scale=probe.guidance_scale, strict_scale=False)
        # A GPU allocates for each shape, and with `compile` first compiles, then records; a CPU gets going but once.
        cold = 2 if pipe.device.type == "cuda" or pipe.synthesis.sampler.compiled else not measured
        requests = [timed(pipe, sources, targets, options) for _ in range(cold + repeat)]
        measured += requests[cold:]
    return fit(measured)


@torch.inference_mode()
def timed(pipe: GLDPipeline, sources: list[SourceView], targets: list[Camera], options: Options) -> dict[str, Measured]:
    """Demand and seconds of each phase of one request, sources never seen before."""
    pipe.forget()
    watch = Stopwatch(pipe.clock)
    with warnings.catch_warnings():  # of a scene that no model was trained on
        warnings.simplefilter("ignore")
        pipe.synthesis.synthesize(sources, targets, replace(options, timer=watch), None)
    asked = demands(pipe.net.config, [source.camera for source in sources], targets, options)
    found: dict[str, Measured] = defaultdict(list)
    for phase, seconds in watch.seconds.items():
        found[phase] = [(asked[phase][i % len(asked[phase])], s) for i, s in enumerate(seconds)]
    return found


def wall_views(probe: Probe) -> tuple[list[SourceView], list[Camera]]:
    """Sources with depth images, so that any weights find a scale, and target cameras between them."""
    wall, depth = Wall(probe.size), np.full(probe.size, DISTANCE, np.float32)
    sources = [replace(wall.view(BASELINE * i), depth=depth) for i in range(probe.sources)]
    return sources, [wall.camera(BASELINE * (i + 0.5)) for i in range(probe.targets)]


def identity(pipe: GLDPipeline) -> dict[str, Any]:
    """All that decides how fast a pipeline is, and by whose weights."""
    cuda = pipe.device.type == "cuda"
    return {
        "model": pipe.name,
        "weights": weights_identity(pipe.net),
        "device": torch.cuda.get_device_name(pipe.device) if cuda else "cpu",
        "threads": torch.get_num_threads(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "dtype": str(pipe.synthesis.dtype).removeprefix("torch."),
        "offload": pipe.synthesis.residency.offload,
        "compiled": pipe.synthesis.sampler.compiled,
        "quantize": pipe.quantize,
        "torch": torch.__version__,
    }


def weights_identity(net: GLDNetworks) -> str:
    """Hex digest of the configuration and of some of every parameter's numbers."""
    digest = hashlib.sha256(repr(net.config).encode())
    for name, parameter in net.named_parameters():
        plain = type(parameter.data) is torch.Tensor  # of quantized ones the numbers cannot be sliced
        some = parameter.detach().flatten()[:4].float().cpu().numpy() if plain else np.empty(0)
        digest.update(f"{name} {tuple(parameter.shape)} {parameter.dtype} {some.tobytes().hex()}".encode())
    return digest.hexdigest()[:16]


def stored_at(pipe: GLDPipeline) -> Path:
    """Where the cost model of such a pipeline is kept."""
    what = identity(pipe)
    key = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:12]
    return cache_folder() / "costs" / f"{pipe.name}-{pipe.device.type}-{key}.json"


def cache_folder() -> Path:
    """XDG_CACHE_HOME/gld_ros, by default ~/.cache/gld_ros."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gld_ros"


def save(path: Path, model: CostModel, what: dict[str, Any]) -> None:
    """A file that appears whole or not at all. Raises OSError."""
    write_text(path, json.dumps({"identity": what} | asdict(model), indent=1) + "\n")


def load(path: Path) -> CostModel:
    """Raises ModelError that says what is wrong with the file."""
    try:
        found = json.loads(path.read_text())
        coefficients = {phase: tuple(map(float, numbers)) for phase, numbers in found["coefficients"].items()}
        return CostModel(coefficients, float(found["spread"]))
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise ModelError(f"{path}: no cost model can be read ({error!r}); `gld calibrate` writes a new one") from error
