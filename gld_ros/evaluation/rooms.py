"""`gld eval`: two sources and one target of held-out procedural rooms, scored beside the baselines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F
from tqdm import tqdm

from gld_ros.data.room_views import render_scenes
from gld_ros.data.rooms import TEST_SEED
from gld_ros.errors import InvalidRequest, ScaleUnknown
from gld_ros.evaluation.baselines import Picture, copy_nearest, depth_warp
from gld_ros.evaluation.comparison import abs_rel, psnr
from gld_ros.geometry.cameras import Camera
from gld_ros.pipeline.pipeline import GLDPipeline
from gld_ros.pipeline.request import working_size
from gld_ros.pipeline.views import SourceView
from gld_ros.pipeline.warped import WarpedSynthesis

#: First seed of each split; training stays below TEST_SEED. Choices are made on "val", figures reported on "test".
SPLITS = {"test": TEST_SEED, "val": TEST_SEED + 1_000_000}
MIN_REGION = 20  # pixels; smaller regions of one scene are not scored
METHODS = ("model", "copy_nearest", "own_depth_warp", "own_depth_read_back", "true_depth_warp")


@dataclass(frozen=True)
class Scene:
    """Two sources with true depths (H, W), and the view to be synthesized."""

    sources: list[SourceView]
    source_depths: list[np.ndarray]
    target: SourceView


def held_out_scene(seed: int, interpolation: bool) -> Scene:
    """The scene of a seed; the target lies between the sources or beyond one of them."""
    rendered = render_scenes([seed])
    images = (rendered.images[0].permute(0, 2, 3, 1) * 255).round().byte().numpy()
    depth = rendered.depth[0].numpy()
    height, width = depth.shape[1:]
    poses = [_orthonormal(c2w) for c2w in rendered.c2w[0].double().numpy()]
    cameras = [Camera(K, c2w, width, height) for K, c2w in zip(rendered.K[0].numpy(), poses, strict=True)]
    target = 2 if interpolation else 3
    return Scene(
        [SourceView(images[k], cameras[k]) for k in (0, 1)],
        [depth[k] for k in (0, 1)],
        SourceView(images[target], cameras[target], depth=depth[target]),
    )


def evaluate_rooms(pipe: GLDPipeline, split: str, scenes: int, **options: Any) -> dict[str, Any]:
    """Mean figures over `scenes` scenes, half interpolation, half extrapolation; `options` go to the pipeline.

    Every method is scored on the same regions: observed = pixels that the sources show, by the true depth.
    """
    rows: list[dict[str, Any]] = []
    refused = 0
    for k in tqdm(range(scenes), desc=f"eval {split}", mininterval=2):
        scene = held_out_scene(SPLITS[split] + k, interpolation=k % 2 == 0)
        try:
            rows.append({"interpolation": k % 2 == 0, **score_scene(pipe, scene, **options)})
        except ScaleUnknown:
            refused += 1
    report: dict[str, Any] = {"model": pipe.name, "split": split, "scenes": scenes, "refused": refused, **options}
    report["steps"] = options.get("steps") or pipe.net.config.flow.steps
    report |= _means(rows, "model")
    report["interpolation"] = _means([r for r in rows if r["interpolation"]], "model")["psnr_db"]
    report["extrapolation"] = _means([r for r in rows if not r["interpolation"]], "model")["psnr_db"]
    report["unobserved_share"] = float(np.mean([r["unobserved_share"] for r in rows]))
    report["baselines"] = {name: _means(rows, name) for name in METHODS[1:]}
    return report


def score_scene(pipe: GLDPipeline, scene: Scene, **options: Any) -> dict[str, Any]:
    """Figures of every method on one scene."""
    target = scene.target.camera
    view = pipe(scene.sources, [target], **options)[0]
    synthesis = pipe.synthesis
    if not isinstance(synthesis, WarpedSynthesis):
        raise InvalidRequest(f"model '{pipe.name}': the baselines need a model that warps its sources, such as mini")
    prepared = synthesis.prepare(scene.sources, working_size(scene.sources[0].camera, pipe.net.config))
    truth = depth_warp(synthesis, prepared, target, scene.source_depths)
    pictures = {
        "model": Picture(view.image, view.depth, ~view.generated),
        "copy_nearest": copy_nearest(scene.sources, scene.source_depths, target),
        "own_depth_warp": depth_warp(synthesis, prepared, target),
        "own_depth_read_back": depth_warp(synthesis, prepared, target, sharp=True),
        "true_depth_warp": truth,
    }
    regions = {"": None, "observed": truth.seen, "unobserved": ~truth.seen}
    scores: dict[str, Any] = {"unobserved_share": float((~truth.seen).mean())}
    for name, picture in pictures.items():
        similarity = ssim_map(picture.image, scene.target.image)
        for region, where in regions.items():
            if where is not None and where.sum() < MIN_REGION:
                continue
            scores[f"{name}/{region}"] = {
                "psnr_db": psnr(picture.image, scene.target.image, where),
                "ssim": float(similarity.mean() if where is None else similarity[where].mean()),
                "depth_abs_rel": abs_rel(picture.depth, scene.target.depth, where),
            }
    return scores


def ssim_map(image: np.ndarray, real: np.ndarray) -> np.ndarray:
    """SSIM (H, W) of (H, W, 3) uint8 images, 11-pixel Gaussian window, mean over channels (Wang et al. 2004)."""
    a, b = (torch.from_numpy(x).double().permute(2, 0, 1)[:, None] / 255 for x in (image, real))
    taps = torch.exp(-0.5 * (torch.arange(-5, 6).double() / 1.5) ** 2)
    window = (taps[:, None] * taps / taps.sum() ** 2)[None, None]

    def blur(x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(F.pad(x, (5, 5, 5, 5), mode="reflect"), window)

    mean_a, mean_b = blur(a), blur(b)
    var_a, var_b = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2
    covariance = blur(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    ratio = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    return (ratio / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))).mean(dim=(0, 1)).numpy()


def _means(rows: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """Means of a method's figures: over all pixels, and under `observed` / `unobserved`."""
    result: dict[str, Any] = {}
    for region in ("", "observed", "unobserved"):
        found = [row[f"{name}/{region}"] for row in rows if f"{name}/{region}" in row]
        keys = ("psnr_db", "ssim", "depth_abs_rel")
        means = {k: float(np.mean([f[k] for f in found if f[k] is not None])) if found else None for k in keys}
        result |= means if not region else {region: means}
    return result


def _orthonormal(c2w: np.ndarray) -> np.ndarray:
    """c2w (4, 4) with float32 rounding taken out of its rotation."""
    u, _, vt = np.linalg.svd(c2w[:3, :3])
    pose = c2w.copy()
    pose[:3, :3] = u @ vt
    return pose
