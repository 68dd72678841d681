# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The official GLD code, out of a folder of the user's, on the same weights, inputs and noise as ours.

What is theirs: both diffusion transformers with their guidance, in float32 as released; that is 66.2 of the 66.8 s of
an 8-view scene. Euler steps between them, encoding and decoding are ours, in float32, too.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from gld_ros.benchmarks.requests import Shape, wall_tensors
from gld_ros.benchmarks.timing import synchronize
from gld_ros.diffusion.conditioning import RequestCameras
from gld_ros.diffusion.flow import time_grid
from gld_ros.diffusion.sampler import integrate
from gld_ros.errors import InvalidRequest
from gld_ros.generators.gld import Condition, Generated, LatentDiffusion
from gld_ros.generators.gld_family import GLD
from gld_ros.generators.gld_setup import check_tensors
from gld_ros.generators.request import Loading, Preset
from gld_ros.networks.configs import ModelConfig
from gld_ros.networks.dit import MultiViewDiT
from gld_ros.networks.released import MODELS
from gld_ros.pipeline.pipeline import GLDPipeline

Made = TypeVar("Made")
STAGES = ("level1", "level0")
#: Modules of the official `src` folder; the older one has one embedder a stack (the DA3 cascade).
SPLIT, SINGLE = "stage2.models.DDT", "stage2.models.DDT_old"
#: Packages that the official networks import, beside torch.
PACKAGES = ("timm", "torchvision", "transformers", "einops", "omegaconf", "regex")
#: What the official script runs otherwise than its weights say.
NOTES = {
    "gld-vggt": "The official script builds the cascade of VGGT with two head blocks and loads it with strict=False: "
    "four of the six blocks of its weights are dropped. Here the official network has all six, as ours has."
}


@contextmanager
def official_code(folder: Path) -> Iterator[None]:
    """The official repository's `src` on the import path until the block ends.

    Raises InvalidRequest for a folder that is none.
    """
    source = folder / "src"
    for module in (SPLIT, SINGLE):
        file = source / f"{module.replace('.', '/')}.py"
        if not file.is_file():
            raise InvalidRequest(
                f"--compare {folder}: no {file}; a checkout of the official GLD repository is expected"
            )
    sys.path.insert(0, str(source))
    try:
        yield
    finally:
        sys.path.remove(str(source))
        for name in [name for name in sys.modules if name.partition(".")[0] == SPLIT.partition(".")[0]]:
            del sys.modules[name]


def check_code(folder: Path) -> None:
    """Raise InvalidRequest unless `folder` has the official code and all that it imports is installed."""
    with official_code(folder):
        for module in (SPLIT, SINGLE):
            official_class(module)


def official_class(module: str) -> Any:
    """The official class of a module; inside `official_code`. Raises InvalidRequest where it cannot be imported."""
    try:
        return importlib.import_module(module).DiTwDDTHead
    except Exception as error:  # a package that is missing, or of a version that does not fit
        missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
        hint = f"; it needs {', '.join(PACKAGES)}: pip install {' '.join(missing)}" if missing else ""
        raise InvalidRequest(
            f"the official {module} cannot be imported: {type(error).__name__}: {error}{hint}"
        ) from error


def official_dit(config: ModelConfig, stage: str, ours: MultiViewDiT) -> nn.Module:
    """Their network of a stage with our weights, float32, on the device of ours; inside `official_code`.

    Raises InvalidRequest where it cannot be imported, or its parameters are not ours.
    """
    own = ours.config
    module = SPLIT if own.split_embedders else SINGLE
    kind = official_class(module)
    options: dict[str, Any] = {
        "in_channels": config.encoder.channels,
        "hidden_size": [own.width, own.head_width],
        "depth": [own.depth, own.head_depth],
        "num_heads": [own.heads, own.head_heads],
        "mlp_ratio": own.mlp_ratio,
        "use_qknorm": False,
        "use_rope": False,
        "use_pos_embed": False,
        "use_prope": True,
        "is_concat_mode": True,
        "source_condition_mode": "l1_as_cond" if own.level1_channels else None,
        "cam_input_size": own.compat.fixed_image_size or config.long_side or 504,
        "cam_patch_size": config.encoder.patch,
        "cam_in_channels": own.camera_channels,
    }
    if own.split_embedders:
        options |= {"architecture_mode": "new", "cfg_mode": "new", "num_special_tokens": own.special_tokens}
    dit = kind(**options)
    try:
        dit.load_state_dict(ours.state_dict(), assign=True)  # float32 weights are shared
    except RuntimeError as error:
        raise InvalidRequest(f"the official {stage} does not take this model's weights: {error}") from error
    return dit.to(next(ours.parameters()).device, torch.float32).eval().requires_grad_(False)


class OfficialDiffusion(LatentDiffusion):
    """The method with the official networks in place of ours. seconds: of each stage of the latest request."""

    def __init__(self, ours: LatentDiffusion) -> None:
        super().__init__(ours.net, Loading(ours.device, torch.float32))
        self.dits: dict[str, Any] = {s: official_dit(ours.net.config, s, getattr(ours.net, s)) for s in STAGES}
        self.seconds: dict[str, float] = {}

    def sample(
        self,
        stage: str,
        preset: Preset,
        cond: Condition,
        cameras: RequestCameras,
        noise: Tensor,
        level1: Tensor | None,
        report: Callable[..., bool],
    ) -> Tensor:
        ours, theirs = getattr(self.net, stage), self.dits[stage]
        base, V = getattr(cond, stage)[0], noise.shape[1]
        camera_map = cameras.condition(ours).camera_map[0]
        told: dict[str, Any] = {
            "viewmats": cameras.w2c,
            "Ks": cameras.K,
            "prope_image_size": cameras.size,
            "cond_num": cameras.sources,
        }
        if level1 is not None and ours.config.level1_channels:
            told["source_condition"] = level1[0]
        how = preset.sampling[stage]

        def velocity(x: Tensor, t: Tensor) -> Tensor:
            arguments = torch.cat([base, x[0]], dim=1), t.expand(V), V, camera_map
            if how.guided:
                return theirs.forward_with_cfg(*arguments, how.guidance_scale, **told)[None]
            return theirs(*arguments, **told)[None]

        start = noise.to(self.device)
        times = time_grid(self.net.config.flow, how.steps, V).to(start)
        made, self.seconds[f"{stage}_s"] = timed(self.device, lambda: integrate(velocity, start, times))
        return made


@torch.inference_mode()
def measure(
    ours: GLDPipeline,
    reference: GLDPipeline,
    folder: Path,
    shape: Shape,
    steps: int | None = None,
    repeat: int = 1,
    tick: Callable[[None], None] = lambda state: None,
) -> dict[str, Any]:
    """Medians of `repeat` runs of both in turn, after one step each to warm up, and how far our output is from theirs.

    ours: what is measured; reference: the same weights in float32, for the official run. cpu_s is the time of all
    threads of this process, which other processes change little. tick: called after each run. Raises InvalidRequest
    for a model that the official code does not know, or a folder without it.
    """
    for pipe in (ours, reference):
        if pipe.name not in MODELS:
            raise InvalidRequest(
                f"model '{pipe.name}' is not one of the official code: gld-da3 or gld-vggt is expected"
            )
    mine, original = GLD.of(ours.generator), GLD.of(reference.generator)
    request = wall_tensors(shape, mine.device)
    check_tensors(*request, ours.name, mine.limits)

    def run_theirs(steps: int | None) -> tuple[Generated, dict[str, float]]:
        preset = original.preset("exact").changed(steps)
        made, spent = clocked(official.device, lambda: official.denoise(*request, preset))
        return made, spent | official.seconds | {"rest_s": spent["total_s"] - sum(official.seconds.values())}

    def run_ours(steps: int | None) -> tuple[Generated, dict[str, float]]:
        return clocked(mine.device, lambda: mine.generate_tensors(*request, steps=steps))

    with official_code(folder):
        official = OfficialDiffusion(original.diffusion)
        for run in (run_theirs, run_ours):
            run(1)
        runs: dict[str, list[dict[str, float]]] = {"official": [], "ours": []}
        for _ in range(repeat):  # in turn: what else the machine does meets both
            expected, seconds = run_theirs(steps)
            runs["official"].append(seconds)
            tick(None)
            made, seconds = run_ours(steps)
            runs["ours"].append(seconds)
            tick(None)
    error = (made.image.clamp(0, 1) - expected.image.clamp(0, 1)).square().mean()
    pairs = list(zip(runs["official"], runs["ours"], strict=True))
    return {
        "model": ours.name,
        "views": [shape.sources, shape.targets],
        "size": [shape.size[1], shape.size[0]],
        "dtype": str(mine.dtype).removeprefix("torch."),
        "steps": [mine.net.config.flow.sampling(stage, steps)[0] for stage in STAGES],
        "repeat": repeat,
        **{side: {key: float(np.median([s[key] for s in all_])) for key in all_[0]} for side, all_ in runs.items()},
        "speedup": {kind: float(np.median([a[kind] / b[kind] for a, b in pairs])) for kind in ("total_s", "cpu_s")},
        "speedups": [a["total_s"] / b["total_s"] for a, b in pairs],
        "note": NOTES.get(ours.name),
        "difference": {
            "image_psnr_db": float(-10 * error.clamp_min(1e-12).log10()),
            "level1": relative(made.level1, expected.level1),
            "level0": relative(made.level0, expected.level0),
        },
    }


def clocked(device: torch.device, call: Callable[[], Made]) -> tuple[Made, dict[str, float]]:
    """The result of `call`, its seconds and the CPU seconds of this process."""
    began = time.process_time()
    made, total = timed(device, call)
    return made, {"total_s": total, "cpu_s": time.process_time() - began}


def timed(device: torch.device, call: Callable[[], Made]) -> tuple[Made, float]:
    """The result of `call`, and the seconds until the device has done it."""
    synchronize(device)
    began = time.perf_counter()
    made = call()
    synchronize(device)
    return made, time.perf_counter() - began


def relative(a: Tensor, b: Tensor) -> float:
    """|a - b| / |b|."""
    return float((a.float() - b.float()).norm() / b.float().norm())
