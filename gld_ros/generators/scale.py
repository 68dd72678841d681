# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Metric scale: GLD normalises poses away, so metres come back by aligning its depth with the posed sources."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from gld_ros.errors import ScaleUnknown
from gld_ros.generators.native import sensor_depth
from gld_ros.geometry.alignment import robust_scale
from gld_ros.geometry.cameras import RelativeFrame
from gld_ros.geometry.rays import directions, invert_rigid
from gld_ros.geometry.warp import forward_warp, pull_push
from gld_ros.networks.dpt import Geometry
from gld_ros.networks.posed_depth import SourceDepth
from gld_ros.views import SENSOR_SPREAD, Scale, SourceView

#: Share of the sources' pixels that a depth sensor has to have measured.
SENSED = 0.02
#: Disagreement of the sources' depths (robust spread of log ratios) above which poses or matches are wrong.
MAX_DISAGREEMENT = 0.35


def find_scale(
    sources: Sequence[SourceView],
    geometry: Geometry,
    stereo: SourceDepth | None,
    K: Tensor,
    c2w: Tensor,
    frame: RelativeFrame,
    min_baseline: float,
) -> tuple[SourceDepth, Scale]:
    """The sources' depth in the frame's unit, and metres per model unit.

    A depth sensor is believed where it measured; elsewhere depth is triangulated between the posed sources, or, with
    one source, the head's own depth scaled to the sensor; both are bent to meet the sensor's. Raises ScaleUnknown when
    neither supports a scale, or when the sources contradict each other. The scale's residual is the spread between the
    head's depth and the sources'.
    """
    predicted = geometry.depth.float()
    sensor = sensor_depth(sources, frame, (predicted.shape[-2], predicted.shape[-1]), predicted.device)
    measured = torch.isfinite(sensor * predicted)
    if frame.baseline < min_baseline:
        stereo = None
    if measured.float().mean() > SENSED:
        method = "depth"
        value, residual = robust_scale(predicted[measured], sensor[measured])
        rest = stereo or SourceDepth(predicted * value, geometry_spread(geometry))
        posed = SourceDepth(joined(rest.depth, sensor, measured), torch.where(measured, SENSOR_SPREAD, rest.spread))
    elif stereo is not None:
        method, posed = "stereo", stereo
        sure = (stereo.spread <= stereo.spread.median()) & stereo.depth.isfinite()
        value, residual = robust_scale(predicted[sure], stereo.depth[sure])
    else:
        raise ScaleUnknown(
            f"{len(sources)} source cameras {frame.baseline:.3g} m apart on average and no depth images: "
            f"two or more, at least {min_baseline:g} m apart, are needed for a metric scale"
        )
    disagreement = cross_check(posed, K, c2w)
    if disagreement > MAX_DISAGREEMENT:
        raise ScaleUnknown(
            f"depths of the {len(sources)} sources ({method}) contradict each other when carried from view to view: "
            f"spread of their log ratio {disagreement:.2f}, expected at most {MAX_DISAGREEMENT}; are the poses right?"
        )
    return posed, Scale(value * frame.unit, method, residual)


def joined(depth: Tensor, sensor: Tensor, measured: Tensor) -> Tensor:
    """The sensor's depth (1, V, H, W) where measured; elsewhere `depth`, bent smoothly to meet the sensor's."""
    ratio = torch.where(measured, (sensor / depth).log(), 0.0).nan_to_num()
    bent = depth * pull_push(ratio[0][:, None], measured[0])[:, 0].exp()
    return torch.where(measured, sensor, bent)


def joint_scale(
    sources: Sequence[SourceView],
    geometry: Geometry,
    K: Tensor,
    c2w: Tensor,
    frame: RelativeFrame,
    min_baseline: float,
    strict: bool,
) -> Scale:
    """Metres per model unit of views that were generated together, K (1, V, 3, 3), c2w (1, V, 4, 4) in the frame.

    Depth images of the sources where there are some; otherwise the camera centres in the generated rays, whose
    distances are compared with those of the known poses; without rays (VGGT) the scale at which the views' depths agree
    best when they are carried from view to view. Raises ScaleUnknown with neither depth images nor a baseline and, if
    `strict`, where what is generated contradicts what is known; otherwise that is a warning.
    """
    predicted = geometry.depth[:, : len(sources)].float()
    sensor = sensor_depth(sources, frame, (predicted.shape[-2], predicted.shape[-1]), predicted.device)
    measured = torch.isfinite(sensor * predicted)
    if measured.float().mean() > SENSED:
        method = "depth"
        value, residual = robust_scale(predicted[measured], sensor[measured])
    elif frame.baseline < min_baseline:
        raise ScaleUnknown(
            f"{c2w.shape[1]} cameras {frame.baseline:.3g} m apart on average and no depth images: "
            f"cameras at least {min_baseline:g} m apart are needed"
        )
    elif geometry.rays is None or geometry.ray_confidence is None:
        method = "stereo"
        value, residual = consistent_scale(geometry.depth.float(), K, c2w)
    else:
        method = "poses"
        weight = geometry.ray_confidence[0].float().flatten(1)
        centres = (geometry.rays[0, ..., 3:].float().flatten(1, 2) * weight[..., None]).sum(dim=1)
        centres = centres / weight.sum(dim=1, keepdim=True)
        known = torch.pdist(c2w[0, :, :3, 3])
        apart = known >= min_baseline / frame.unit  # cameras that turn at one place say nothing of the scale
        value, spread = robust_scale(torch.pdist(centres)[apart], known[apart])
        # At that scale the depths have to agree, too; with two cameras nothing else could contradict it.
        residual = max(spread, float(meeting_errors(geometry.depth.float(), K, c2w, torch.tensor([value]))[0]))
    if residual > MAX_DISAGREEMENT:
        reason = (
            f"the generated views contradict the {'depth images' if method == 'depth' else 'poses'}: spread of the log "
            f"ratio {residual:.2f}, expected at most {MAX_DISAGREEMENT}; are the poses right, is the model trained?"
        )
        if strict:
            raise ScaleUnknown(reason)
        warnings.warn(reason, stacklevel=2)
    return Scale(value * frame.unit, method, residual)


def consistent_scale(depth: Tensor, K: Tensor, c2w: Tensor, candidates: int = 96) -> tuple[float, float]:
    """The factor of depth (1, V, H, W) at which every view's points meet the other views' surfaces, and the spread that
    is left. K: (1, V, 3, 3); c2w: (1, V, 4, 4) in the unit that is looked for."""
    baseline = torch.pdist(c2w[0, :, :3, 3]).mean()
    # The scene's typical depth lies between a third of a baseline and a thousand of them.
    span = torch.logspace(-0.5, 3, candidates, device=depth.device)
    scales = span * baseline / depth.nanmedian()
    for _ in range(2):  # a coarse search, then a fine one around its best
        error = meeting_errors(depth, K, c2w, scales)
        best = int(error.argmin())
        lower, upper = scales[max(best - 1, 0)], scales[min(best + 1, candidates - 1)]
        found, left = scales[best], error[best]
        scales = torch.logspace(float(lower.log10()), float(upper.log10()), candidates, device=depth.device)
    return float(found), float(left)


def meeting_errors(depth: Tensor, K: Tensor, c2w: Tensor, scales: Tensor) -> Tensor:
    """Spread of log(depth of one view's points seen from another / depth there) at every one of `scales` (N,), mean of
    the pairs that overlap; infinite at scales where none, or far fewer than at others, do. depth: (1, V, H, W);
    K: (1, V, 3, 3); c2w: (1, V, 4, 4)."""
    scales = scales.to(depth)
    views = range(depth.shape[1])
    pairs = [_meeting_error(depth[0], K[0], c2w[0], i, j, scales) for i in views for j in views if i != j]
    errors = torch.stack(pairs)
    overlaps = errors.isfinite().sum(dim=0)
    mean = 1.4826 * torch.where(errors.isfinite(), errors, 0).sum(dim=0) / overlaps
    return torch.where(2 * overlaps >= overlaps.max().clamp_min(1), mean, torch.inf)


def _meeting_error(depth: Tensor, K: Tensor, c2w: Tensor, i: int, j: int, scales: Tensor) -> Tensor:
    """Median |log(depth of view i's points seen from j / depth of j there)| at every one of `scales` (N,)."""
    H, W = depth.shape[-2:]
    motion = invert_rigid(c2w[j]) @ c2w[i]
    rays = (motion[:3, :3] @ directions(K[i], H, W)) * depth[i].flatten()
    points = (scales[:, None, None] * rays + motion[:3, 3:]).nan_to_num(-1.0)  # unknown depth: behind the camera
    z = points[:, 2].clamp_min(1e-9)
    u, v = (K[j, axis, axis] * points[:, axis] / z + K[j, axis, 2] for axis in (0, 1))
    inside = (points[:, 2] > 1e-6) & (u >= 0) & (u < W) & (v >= 0) & (v < H)
    there = depth[j][v.clamp(0, H - 1).long(), u.clamp(0, W - 1).long()] * scales[:, None]
    error = torch.where(inside, (z / there).log().abs(), torch.nan).nanmedian(dim=1).values
    return torch.where(inside.float().mean(dim=1) > 0.1, error, torch.inf)


def cross_check(depth: SourceDepth, K: Tensor, c2w: Tensor) -> float:
    """Robust spread of log(depth carried over from the other sources / own depth), the worst source; 0 for one source.

    depth: (1, V, H, W); K: (1, V, 3, 3); c2w: (1, V, 4, 4). Triangulation at wrong poses, or without parallax, gives
    surfaces that do not meet.
    """
    views = depth.depth.shape[1]
    worst = 0.0
    for v in range(views if views > 1 else 0):
        others = [k for k in range(views) if k != v]
        carried = forward_warp(
            depth.spread[:, others, None], depth.depth[:, others], K[:, others], c2w[:, others],
            K[:, v], c2w[:, v], (depth.depth.shape[-2], depth.depth.shape[-1]),
        )  # fmt: skip
        if carried.seen.float().mean() > 0.05:
            log = (carried.depth / depth.depth[:, v])[carried.seen].log()
            worst = max(worst, float(1.4826 * log.abs().nanmedian()))
    return worst


def geometry_spread(geometry: Geometry) -> Tensor:
    """Expected log error of the head's depth, from its confidence (1 = unsure)."""
    return 0.3 / geometry.depth_confidence.float()
