"""Metric scale: GLD normalises poses away, so metres come back by aligning its depth with the posed sources."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from gld_ros.errors import ScaleUnknown
from gld_ros.geometry.alignment import robust_scale
from gld_ros.models.dpt import Geometry
from gld_ros.models.matching import SourceDepth
from gld_ros.pipeline.request import RelativeFrame
from gld_ros.pipeline.views import Scale, SourceView

#: Expected log error of a depth sensor's pixels.
SENSOR_SPREAD = 0.02
#: Spread of log depth ratios, head against sources, above which the two do not describe one scene.
MAX_RESIDUAL = 0.5


def find_scale(
    sources: Sequence[SourceView],
    geometry: Geometry,
    stereo: SourceDepth | None,
    frame: RelativeFrame,
    min_baseline: float,
) -> tuple[SourceDepth, Scale]:
    """The sources' depth in the frame's unit, and metres per model unit.

    A depth sensor is believed where it measured; elsewhere depth is triangulated between the posed sources, or, with
    one source, the head's own depth scaled to the sensor. Raises ScaleUnknown when neither supports a scale.
    """
    predicted = geometry.depth.float()
    sensor = sensor_depth(sources, frame, predicted)
    measured = torch.isfinite(sensor)
    stereo_valid = stereo is not None and frame.baseline >= min_baseline
    if measured.float().mean() > 0.02:
        method = "depth"
        value, residual = robust_scale(predicted[measured], sensor[measured])
        rest = stereo if stereo_valid and stereo is not None else SourceDepth(predicted * value, geometry_spread(geometry))
        depth = torch.where(measured, sensor, rest.depth)
        spread = torch.where(measured, SENSOR_SPREAD, rest.spread)
    elif stereo_valid and stereo is not None:
        method = "stereo"
        depth, spread = stereo.depth, stereo.spread
        sure = spread <= spread.median()
        value, residual = robust_scale(predicted[sure], depth[sure])
    else:
        raise ScaleUnknown(
            f"{len(sources)} source cameras {frame.baseline:.3g} m apart on average and no depth images: "
            f"two or more, at least {min_baseline:g} m apart, are needed for a metric scale"
        )
    if not np.isfinite(residual) or residual > MAX_RESIDUAL:
        raise ScaleUnknown(
            f"depth of the {len(sources)} sources ({method}) and of the model disagree: spread of their log ratio "
            f"{residual:.2f}, expected at most {MAX_RESIDUAL}; are the poses right?"
        )
    return SourceDepth(depth, spread), Scale(value * frame.unit, method, residual)


def sensor_depth(sources: Sequence[SourceView], frame: RelativeFrame, like: Tensor) -> Tensor:
    """(1, V, H, W) depth images at the working size in the frame's unit; NaN where not measured or between surfaces."""
    size = (like.shape[-2], like.shape[-1])
    maps = []
    for source in sources:
        if source.depth is None:
            maps.append(torch.full(size, torch.nan, device=like.device))
            continue
        depth = torch.from_numpy(source.depth.astype(np.float32)).to(like.device)[None, None] / frame.unit
        maps.append(F.interpolate(depth, size=size, mode="nearest-exact")[0, 0])
    stacked = torch.stack(maps)[None]
    return torch.where(stacked > 0, stacked, torch.nan)


def geometry_spread(geometry: Geometry) -> Tensor:
    """Expected log error of the head's depth, from its confidence (1 = unsure)."""
    return 0.3 / geometry.depth_confidence.float()
