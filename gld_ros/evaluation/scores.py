# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Figures of one method on one scene: of every target, of all together, and of the model's own encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from gld_ros.evaluation.methods import Picture
from gld_ros.evaluation.scenes import Scene
from gld_ros.generators.gld_family import GLD
from gld_ros.generators.native import pictures
from gld_ros.geometry.keypoints import keypoints
from gld_ros.geometry.points import unproject
from gld_ros.geometry.ray_pose import cameras_from_rays
from gld_ros.metrics.correspondence import pck, reprojection_error, true_matches
from gld_ros.metrics.geometry import ALIGNMENTS, align_depth, cloud_errors, depth_errors, known_pixels, point_errors
from gld_ros.metrics.image import psnr, sharpness, ssim_map
from gld_ros.metrics.lpips import LPIPS
from gld_ros.metrics.uncertainty import ause, calibration_error, coverage
from gld_ros.pipeline.pipeline import GLDPipeline
from gld_ros.views import SourceView

#: Figures by name. Figures of a region: "all", "observed" or "unobserved" pixels.
Figures = dict[str, float]
Regions = dict[str, np.ndarray | None]

MIN_REGION = 20  # pixels; smaller regions of one view are not scored
RIGHT = 0.1  # depth this near to the truth (of its logarithm) is right, as `confidence` means it
POINTS = 4096  # of each cloud that are compared


def picture_figures(picture: Picture, real: SourceView, regions: Regions, lpips: LPIPS | None) -> dict[str, Figures]:
    """Figures of one picture in every region that is large enough."""
    # What the mask excludes equals the picture, so that it counts in no window either.
    truth = real.image if real.mask is None else np.where(real.mask[..., None], real.image, picture.image)
    similarity = ssim_map(picture.image, truth)
    distance = lpips.distances(picture.image, truth) if lpips else None
    aligned = {}
    if picture.depth is not None and real.depth is not None:
        aligned = {how: align_depth(picture.depth, real.depth, how) for how in ALIGNMENTS}
    found: dict[str, Figures] = {}
    for region, where in regions.items():
        if where is not None and where.sum() < MIN_REGION:
            continue
        found[region] = figures = {
            "psnr_db": psnr(picture.image, truth, where) or 0.0,
            "ssim": float(similarity.mean() if where is None else similarity[where].mean()),
        }
        if distance is not None:
            figures["lpips"] = distance[0] if where is None else float(distance[1][where].mean())
        detail = sharpness(picture.image, truth, where)
        if detail is not None:
            figures["sharpness"] = detail
        for how, depth in aligned.items():
            assert real.depth is not None
            ending = "" if how == "none" else f"_{how}"
            errors = depth_errors(depth, real.depth, where) or {}
            figures |= {f"depth_{name}{ending}": value for name, value in errors.items()}
        figures |= _doubt_figures(picture, real, where)
    return found


def _doubt_figures(picture: Picture, real: SourceView, where: np.ndarray | None) -> Figures:
    """Ranking and calibration of the confidence of a picture's depth; coverage and width of its intervals."""
    if picture.depth is None or picture.confidence is None or real.depth is None:
        return {}
    known = known_pixels(picture.depth, real.depth) & (picture.depth > 0)
    if where is not None:
        known &= where
    error = np.abs(np.log(picture.depth[known] / real.depth[known]))
    confidence = picture.confidence[known].astype(np.float64)
    ranked, honest = ause(error, -confidence), calibration_error(confidence, error < np.log1p(RIGHT))
    found = {"depth_ause": ranked, "depth_calibration_error": honest}
    if picture.interval is not None:
        lower, upper = (bound[known] for bound in picture.interval)
        stated, real_depth = np.isfinite(lower), real.depth[known]
        if stated.any():
            covered = (lower <= real_depth) & (real_depth <= upper)
            found["depth_coverage_0.9"] = float(covered[stated].mean())
            found["depth_width_0.9"] = float(np.median((upper - lower)[stated] / picture.depth[known][stated]))
    return {name: value for name, value in found.items() if value is not None}


def sample_figures(pictures: Sequence[Picture], real: SourceView, regions: Regions) -> dict[str, Figures]:
    """Spread of K >= 2 samples of one target (grey levels, 0..1), and how it ranks their mean's error."""
    stack = np.stack([picture.image for picture in pictures]).astype(np.float64) / 255
    truth = real.image.astype(np.float64) / 255
    spread = stack.std(axis=0, ddof=1).mean(axis=-1)
    error = np.abs(stack.mean(axis=0) - truth).mean(axis=-1)
    found: dict[str, Figures] = {}
    for region, where in regions.items():
        inside = np.ones(spread.shape, bool) if where is None else where
        if inside.sum() < MIN_REGION:
            continue
        covered = coverage(stack[:, inside].reshape(len(stack), -1), truth[inside].ravel())
        found[region] = {"sample_spread": float(spread[inside].mean()), "sample_coverage": covered}
        ranked = ause(error[inside], spread[inside])
        if ranked is not None:
            found[region]["sample_ause"] = ranked
    return found


def best_of(samples: Sequence[dict[str, Figures]]) -> dict[str, Figures]:
    """The best sample's PSNR, SSIM and LPIPS of one target, each in every region: `psnr_db_best`, ..."""
    found: dict[str, Figures] = {}
    for region in samples[0]:
        found[region] = {}
        for name, choose in (("psnr_db", max), ("ssim", max), ("lpips", min)):
            if name in samples[0][region]:
                found[region][f"{name}_best"] = choose(sample[region][name] for sample in samples)
    return found


def scene_figures(scene: Scene, pictures: Sequence[Picture], same_spread: bool = False) -> Figures:
    """Figures of all targets together: points against the true ones, reprojection error against the sources.

    same_spread: of the alignment of clouds, see `umeyama`.
    """
    sources = [(keypoints(source.image), source.camera) for source in scene.sources]
    made = [(keypoints(picture.image), camera) for picture, camera in zip(pictures, scene.cameras, strict=True)]
    errors = [reprojection_error(*view, *source) for view in made for source in sources]
    matched = [error for error in errors if error is not None]
    figures = {"reprojection_px": float(np.mean(matched))} if matched else {}
    clouds = []  # of each target: as made at the pose asked for, at the pose that the method found, and the true one
    for picture, target in zip(pictures, scene.targets, strict=True):
        if picture.depth is not None and target.depth is not None:
            known = target.depth > 0 if target.mask is None else (target.depth > 0) & target.mask
            found = target.camera if picture.c2w is None else replace(target.camera, c2w=picture.c2w)
            shown = (picture.depth, target.camera), (picture.depth, found), (target.depth, target.camera)
            clouds.append([unproject(*depth_and_camera)[known] for depth_and_camera in shown])
    if clouds:
        asked, implied, true = (np.concatenate(points) for points in zip(*clouds, strict=True))
        both = np.isfinite(asked).all(axis=1) & np.isfinite(true).all(axis=1)
        if both.any():
            errors_3d = point_errors(_thinned(asked[both]), _thinned(true[both]))
            figures |= {f"points_{name}": value for name, value in errors_3d.items()}
        aligned = cloud_errors(implied, true, same_spread) or {}
        figures |= {f"cloud_{name}": value for name, value in aligned.items()}
    return figures


def mean_of(figures: Sequence[Figures]) -> Figures:
    """Means of every figure over those that have it."""
    names = dict.fromkeys(name for values in figures for name in values)
    return {name: float(np.mean([values[name] for values in figures if name in values])) for name in names}


def _thinned(points: np.ndarray) -> np.ndarray:
    """At most POINTS of (N, 3), the same every time."""
    if len(points) <= POINTS:
        return points
    return points[np.random.default_rng(0).choice(len(points), POINTS, replace=False)]


PCK_SHARE = 0.1  # of the longer side
PCK_POINTS = 500  # of each pair of views


@torch.inference_mode()
def estimate_poses(pipe: GLDPipeline, sources: Sequence[SourceView], images: Sequence[np.ndarray]) -> np.ndarray:
    """c2w (V, 4, 4) of `images`, encoded together with the sources (the first is the world); up to a scale.

    Raises ModelError where the rays are no camera's.
    """
    gld = GLD.of(pipe.generator)
    features, grid, size = _features(gld, [s.image for s in sources] + list(images), sources[0])
    with gld.diffusion.autocast(), gld.diffusion.residency.at_work("dpt"):
        geometry = gld.net.dpt(features, grid, size)
    assert geometry.rays is not None and geometry.ray_confidence is not None
    cameras = cameras_from_rays(geometry.rays.float(), geometry.ray_confidence.float(), size)
    return cameras.c2w[0, len(sources) :].cpu().numpy()


@torch.inference_mode()
def level_pck(pipe: GLDPipeline, scene: Scene) -> list[float] | None:
    """PCK of levels 0..3 between the first source and every real target, by true depth; None
    without it or for a model without levels."""
    if scene.source_depths is None or not pipe.generator.has_levels:
        return None
    features, grid, _ = _features(
        GLD.of(pipe.generator), [scene.sources[0].image, *(target.image for target in scene.targets)], scene.sources[0]
    )
    camera, values = scene.sources[0].camera, []
    for v, target in enumerate(scene.targets, start=1):
        if target.depth is None or (target.camera.width, target.camera.height) != (camera.width, camera.height):
            continue
        pixels, truth = true_matches(scene.source_depths[0], camera, target.depth, target.camera, PCK_POINTS)
        maps = [f[0].transpose(1, 2).unflatten(2, grid) for f in features]
        shares = [pck(m[0], m[v], pixels, truth, (camera.height, camera.width), PCK_SHARE) for m in maps]
        if shares[0] is not None:
            values.append(shares)
    return np.mean(values, axis=0).tolist() if values else None


def _features(gld: GLD, images: list[np.ndarray], like: SourceView) -> tuple:
    """Levels (1, V, h * w, C) as the decoders read them, their grid, and the size (H, W) the images were brought to."""
    size = gld.working_size(like.camera)
    with torch.inference_mode(), gld.diffusion.autocast(), gld.diffusion.residency.at_work("encoder"):
        levels = gld.net.encoder(pictures(images, size, gld.device))
    return [gld.net.encoder.to_decoder(level) for level in levels], levels[0].grid, size
