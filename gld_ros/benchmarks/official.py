# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The official GLD code, out of a folder of the user's, on the same weights, inputs and noise as ours.

What is theirs: both diffusion transformers with their guidance, in float32 as released; that is 66.2 of the 66.8 s of
an 8-view scene. Euler steps between them, encoding and decoding are ours, in float32, too.
"""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gld_ros.benchmarks.requests import Shape, wall_request
from gld_ros.benchmarks.timing import synchronize
from gld_ros.diffusion.conditioning import camera_conditions, normalized_poses
from gld_ros.diffusion.flow import time_grid
from gld_ros.diffusion.sampler import integrate
from gld_ros.errors import InvalidRequest
from gld_ros.generators.gld import Generated, SourceLatents
from gld_ros.generators.gld_family import GLD
from gld_ros.generators.gld_setup import check_tensors
from gld_ros.generators.native import camera_tensors, pictures
from gld_ros.geometry.cameras import RelativeFrame
from gld_ros.networks.configs import ModelConfig
from gld_ros.networks.dit import MultiViewDiT
from gld_ros.networks.released import MODELS
from gld_ros.pipeline.pipeline import GLDPipeline

#: Modules of the official `src` folder; the older one has one embedder a stack (the DA3 cascade).
SPLIT, SINGLE = "stage2.models.DDT", "stage2.models.DDT_old"


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


def official_dit(config: ModelConfig, stage: str, ours: MultiViewDiT) -> nn.Module:
    """Their network of a stage with our weights, float32, on the device of ours; inside `official_code`.

    Raises InvalidRequest where it cannot be imported, or its parameters are not ours.
    """
    own = ours.config
    module = SPLIT if own.split_embedders else SINGLE
    try:
        kind = importlib.import_module(module).DiTwDDTHead
    except Exception as error:  # a package that is missing, or of a version that does not fit
        raise InvalidRequest(f"the official {module} cannot be imported: {type(error).__name__}: {error}") from error
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
        dit.load_state_dict(ours.state_dict())
    except RuntimeError as error:
        raise InvalidRequest(f"the official {stage} does not take this model's weights: {error}") from error
    return dit.to(next(ours.parameters()).device, torch.float32).eval().requires_grad_(False)


def sample(
    pipe: GLD,
    theirs: Any,
    stage: str,
    K: Tensor,
    c2w: Tensor,
    given: SourceLatents,
    noise: Tensor,
    size: tuple[int, int],
    steps: int | None,
    level1: Tensor | None = None,
) -> Tensor:
    """Latents (1, V, C, ...) of a stage by the official network; arguments as in LatentDiffusion.denoise."""
    config = pipe.net.config
    ours = getattr(pipe.net, stage)
    base = given.level1 if stage == "level1" else given.level0
    S, V = base.shape[1], K.shape[1]
    base = F.pad(base, (0, 0, 0, 0, 0, 0, 0, V - S))[0]
    count, scale = config.flow.sampling(stage, steps)
    camera_map = camera_conditions(ours, K, c2w, S, size, given.grid, config.compat).camera_map[0]
    told: dict[str, Any] = {
        "viewmats": normalized_poses(c2w, config.compat.world_frame_poses)[1],
        "Ks": K.float(),
        "prope_image_size": size,
        "cond_num": S,
    }
    if level1 is not None and ours.config.level1_channels:
        told["source_condition"] = level1[0]

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        arguments = torch.cat([base, x[0]], dim=1), t.expand(V), V, camera_map
        if scale > 1:
            return theirs.forward_with_cfg(*arguments, scale, **told)[None]
        return theirs(*arguments, **told)[None]

    return integrate(velocity, noise, time_grid(config.flow, count, V).to(noise))


@torch.inference_mode()
def measure(
    ours: GLDPipeline, reference: GLDPipeline, folder: Path, shape: Shape, steps: int | None = None, repeat: int = 1
) -> dict[str, Any]:
    """Seconds of both, mean of `repeat` runs after one step to warm up, and how far our output is from theirs.

    ours: what is measured; reference: the same weights in float32, for the official run. Raises InvalidRequest for a
    model that the official code does not know, or a folder without it.
    """
    for pipe in (ours, reference):
        if pipe.name not in MODELS:
            raise InvalidRequest(
                f"model '{pipe.name}' is not one of the official code: gld-da3 or gld-vggt is expected"
            )
    mine, original = GLD.of(ours.generator), GLD.of(reference.generator)
    images, K, c2w = tensors(mine, shape)
    check_tensors(images, K, c2w, ours.name, mine.limits)
    noise = draw(mine, images, K)
    with official_code(folder):
        dits = {
            stage: official_dit(original.net.config, stage, getattr(original.net, stage))
            for stage in ("level1", "level0")
        }
        run_official(original, dits, images, K, c2w, noise, 1)
        theirs = [run_official(original, dits, images, K, c2w, noise, steps) for _ in range(repeat)]
    run_ours(mine, images, K, c2w, noise, 1)
    runs = [run_ours(mine, images, K, c2w, noise, steps) for _ in range(repeat)]

    def mean(runs: list[tuple[Generated, dict[str, float]]]) -> dict[str, float]:
        return {key: sum(seconds[key] for _, seconds in runs) / len(runs) for key in runs[0][1]}

    made, expected = runs[-1][0], theirs[-1][0]
    error = (made.image.clamp(0, 1) - expected.image.clamp(0, 1)).square().mean()
    return {
        "model": ours.name,
        "views": [shape.sources, shape.targets],
        "size": [shape.size[1], shape.size[0]],
        "dtype": str(mine.dtype).removeprefix("torch."),
        "steps": [mine.net.config.flow.sampling(stage, steps)[0] for stage in ("level1", "level0")],
        "official": mean(theirs),
        "ours": mean(runs),
        "difference": {
            "image_psnr_db": float(-10 * error.clamp_min(1e-12).log10()),
            "level1": relative(made.level1, expected.level1),
            "level0": relative(made.level0, expected.level0),
        },
    }


def tensors(pipe: GLD, shape: Shape) -> tuple[Tensor, Tensor, Tensor]:
    """images (1, S, 3, H, W), K (1, V, 3, 3) and c2w (1, V, 4, 4) of a request, on the device."""
    sources, targets = wall_request(shape)
    cameras = [*(source.camera for source in sources), *targets]
    images = pictures([source.image for source in sources], shape.size, pipe.device)
    return images, *camera_tensors(cameras, RelativeFrame(cameras), shape.size, pipe.device)


def draw(pipe: GLD, images: Tensor, K: Tensor) -> tuple[Tensor, Tensor]:
    """Noise of levels 1 and 0, in the latents' shape."""
    encoder = pipe.net.config.encoder
    h, w = (side // encoder.patch for side in images.shape[-2:])
    specials = pipe.net.config.level1.special_tokens
    latent = (1, K.shape[1], encoder.channels, *((specials + h * w, 1) if specials else (h, w)))
    level1, level0 = torch.randn(2, *latent, generator=torch.Generator().manual_seed(0)).to(images)
    return level1, level0


class Laps:
    """Seconds from one call to the next, the device's work done."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self()

    def __call__(self) -> float:
        synchronize(self._device)
        now = time.perf_counter()
        lap, self._last = now - getattr(self, "_last", now), now
        return lap


def run_official(
    pipe: GLD,
    dits: dict[str, nn.Module],
    images: Tensor,
    K: Tensor,
    c2w: Tensor,
    noise: tuple[Tensor, Tensor],
    steps: int | None,
) -> tuple[Generated, dict[str, float]]:
    """One whole request with the official networks, and its seconds."""
    diffusion = pipe.diffusion
    size = (images.shape[-2], images.shape[-1])
    lap = Laps(pipe.device)
    given = diffusion.latents_of(images)
    rest = lap()
    level1 = sample(pipe, dits["level1"], "level1", K, c2w, given, noise[0], size, steps)
    seconds = {"level1_s": lap()}
    level0 = sample(pipe, dits["level0"], "level0", K, c2w, given, noise[1], size, steps, level1)
    seconds["level0_s"] = lap()
    features = diffusion.propagate(level0, level1, diffusion.condition(images, K, c2w, given, None), given.grid)
    made = Generated(level0, level1, features, *diffusion.decode(features, given.grid, size))
    seconds["rest_s"] = rest + lap()
    return made, seconds | {"total_s": sum(seconds.values())}


def run_ours(
    pipe: GLD, images: Tensor, K: Tensor, c2w: Tensor, noise: tuple[Tensor, Tensor], steps: int | None
) -> tuple[Generated, dict[str, float]]:
    """One whole request with ours, and its seconds."""
    lap = Laps(pipe.device)
    made = pipe.generate_tensors(images, K, c2w, steps=steps, noise=noise)
    return made, {"total_s": lap()}


def relative(a: Tensor, b: Tensor) -> float:
    """|a - b| / |b|."""
    return float((a.float() - b.float()).norm() / b.float().norm())
