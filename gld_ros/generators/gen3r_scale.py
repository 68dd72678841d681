# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Between metres and the units of VGGT, which Gen3R's clips are in: before a clip is made, and after."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import torch

from gld_ros.errors import ScaleUnknown
from gld_ros.generators.clip_path import ClipPath
from gld_ros.generators.native import camera_tensors, sensor_depth
from gld_ros.generators.request import Request
from gld_ros.generators.scale import SENSED, joint_scale
from gld_ros.geometry.alignment import robust_scale
from gld_ros.geometry.cameras import Camera, RelativeFrame
from gld_ros.geometry.se3 import invert
from gld_ros.networks.dpt import Geometry
from gld_ros.networks.gen3r.geometry import ClipGeometry
from gld_ros.views import Scale, SourceView

#: `Scale.method` of lengths that are no metres.
UNSCALED = "unknown"
#: Most sources, targets and other frames, each, that a scale is looked for in: the time grows with the square.
VIEWS = 8


def some(count: int) -> list[int]:
    """At most `VIEWS` of so many, the first and the last among them."""
    return np.linspace(0, count - 1, min(count, VIEWS)).round().astype(int).tolist() if count else []


def has_metres(sources: Sequence[SourceView], min_baseline: float) -> bool:
    """True if the sources say how long a metre is: by depth images, or by the distance between them."""
    measured = [depth for source in sources if (depth := source.measured) is not None]
    if any(np.isfinite(depth).mean() > SENSED for depth in measured):
        return True
    return len(sources) > 1 and RelativeFrame([source.camera for source in sources]).baseline >= min_baseline


def model_units(sources: Sequence[SourceView], geometry: ClipGeometry, min_baseline: float) -> float:
    """Metres per unit of what VGGT saw in the sources; 1 where nothing tells."""
    frame = RelativeFrame([source.camera for source in sources])
    predicted = geometry.depth.float()
    sensor = sensor_depth(sources, frame, (predicted.shape[-2], predicted.shape[-1]), predicted.device) * frame.unit
    measured = torch.isfinite(sensor * predicted)
    if measured.float().mean() > SENSED:
        return robust_scale(predicted[measured], sensor[measured])[0]
    centres = torch.linalg.inv(geometry.w2c[0].double())[:, :3, 3]
    if len(sources) > 1 and frame.baseline >= min_baseline and (apart := float(torch.pdist(centres).mean())) > 1e-9:
        return frame.baseline / apart
    return 1.0


def clip_scale(
    request: Request, geometry: ClipGeometry, path: ClipPath, frame: RelativeFrame, min_baseline: float, free: bool
) -> Scale:
    """Metres per unit of a clip: by the sources' depth images, else by aligning the generated cameras with the known.

    Raises ScaleUnknown where these disagree and the request is strict, see `joint_scale`. Without depth images and
    with one source the result is `UNSCALED`, with a warning; so it is of a free clip, unless two sources are apart.
    """
    places = some(len(request.sources))
    sources, known = [request.sources[k] for k in places], [path.sources[k] for k in places]
    if not free:
        known += [path.targets[k] for k in some(len(path.targets))] + some(len(path.cameras))
        known = list(dict.fromkeys(known))
    metric = has_metres(request.sources, min_baseline)
    size = (geometry.depth.shape[-2], geometry.depth.shape[-1])
    K, c2w = camera_tensors([path.cameras[k] for k in known], frame, size, geometry.depth.device)
    centres = torch.linalg.inv(geometry.w2c.double())[:, known, :3, 3].float()
    rays = torch.cat([torch.zeros_like(centres), centres], dim=-1)[:, :, None, None]
    weight = torch.ones_like(rays[..., 0])
    seen = Geometry(geometry.depth[:, known], geometry.depth_confidence[:, known], rays, weight)
    try:
        scale = joint_scale(sources, seen, K, c2w, frame, min_baseline, request.strict_scale and metric)
    except ScaleUnknown:
        if metric and request.strict_scale:
            raise
        scale = Scale(1.0, UNSCALED, float("nan"))
    if metric:
        return scale
    warnings.warn("no depth image, and no sources that are apart: the lengths of the clip are no metres", stacklevel=2)
    return Scale(scale.value, UNSCALED, scale.residual)


def generated_cameras(geometry: ClipGeometry, scale: Scale, first: Camera) -> list[Camera]:
    """The cameras that the model chose for all frames, in the world of the first one, whose pose is known."""
    H, W = geometry.depth.shape[-2:]
    w2c, K = geometry.w2c[0].double().cpu().numpy(), geometry.K[0].double().cpu().numpy()
    found = []
    for pose, k in zip(w2c, K, strict=True):
        relative = w2c[0] @ invert(pose)
        relative[:3, 3] *= scale.value
        found.append(Camera(k, first.c2w @ relative, W, H))
    return found
