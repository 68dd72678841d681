# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Synthesized views as messages: SynthesizedView, PointCloud2, MarkerArray."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from geometry_msgs.msg import Point
from sensor_msgs.msg import PointCloud2, PointField
from sensor_msgs_py import point_cloud2
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from gld_ros.geometry.cameras import Camera
from gld_ros.geometry.points import frustum, stride_within, world_coordinates
from gld_ros.msg import SynthesizedView
from gld_ros.ros.conversions import image_to_msg, info_from_camera, ns_to_stamp, pose_to_msg
from gld_ros.views import View

CLOUD_FIELDS = [
    PointField(name="x", offset=0, datatype=PointField.FLOAT32, count=1),
    PointField(name="y", offset=4, datatype=PointField.FLOAT32, count=1),
    PointField(name="z", offset=8, datatype=PointField.FLOAT32, count=1),
    PointField(name="rgb", offset=12, datatype=PointField.FLOAT32, count=1),
    PointField(name="confidence", offset=16, datatype=PointField.FLOAT32, count=1),
    PointField(name="generated", offset=20, datatype=PointField.UINT8, count=1),
]
CLOUD_POINTS = 100_000  # of one view, where the stride is not given: 2 MB
POINT = point_cloud2.dtype_from_fields(CLOUD_FIELDS)
FRUSTUM_COLORS = {"sources": (0.1, 0.7, 0.2), "requests": (0.9, 0.4, 0.0)}


def view_to_msg(view: View, stamp: int, map_frame: str, view_frame: str, coverage: float = 0.0) -> SynthesizedView:
    """SynthesizedView of a `View`; `stamp` in nanoseconds; coverage: of the depth bounds, 0 leaves them out."""
    header = Header(stamp=ns_to_stamp(stamp), frame_id=view_frame)
    return SynthesizedView(
        header=header,
        pose=pose_to_msg(view.camera.c2w, Header(stamp=header.stamp, frame_id=map_frame)),
        camera_info=info_from_camera(view.camera, header),
        image=image_to_msg(view.image, "rgb8", header),
        depth=image_to_msg(view.depth.astype(np.float32, copy=False), "32FC1", header),
        confidence=image_to_msg(view.confidence.astype(np.float32, copy=False), "32FC1", header),
        generated=image_to_msg(view.generated * np.uint8(255), "mono8", header),
        model=view.model,
        preset=view.preset,
        complete=view.complete,
        seed=view.seed,
        samples=view.samples,
        calibrated=view.calibrated,
        novelty=view.novelty,
        source_stamps=[ns_to_stamp(source) for source in view.source_stamps],
        scale=float(view.scale.value),
        scale_method=view.scale.method,
        scale_residual=float(view.scale.residual),
        **_bounds(view, coverage, header),
    )


def _bounds(view: View, coverage: float, header: Header) -> dict[str, Any]:
    """The fields of the depth interval of a calibrated view."""
    interval = view.depth_interval(coverage) if coverage else None
    if interval is None:
        return {}
    lower, upper = (image_to_msg(bound.astype(np.float32, copy=False), "32FC1", header) for bound in interval)
    return {"depth_coverage": coverage, "depth_lower": lower, "depth_upper": upper}


def cloud_to_msg(
    views: Sequence[View], stamp: int, map_frame: str, stride: int = 0, min_confidence: float = 0.0
) -> PointCloud2:
    """All pixels of known depth as one cloud in the map frame, every `stride`-th row and column; 0: as many as come to
    at most CLOUD_POINTS of a view.

    Fields: x, y, z float32 metres; rgb packed into a float32; confidence float32; generated uint8 (255 or 0).
    """
    parts = [_points(view, stride, min_confidence) for view in views] or [np.empty(0, POINT)]
    header = Header(stamp=ns_to_stamp(stamp), frame_id=map_frame)
    cloud = point_cloud2.create_cloud(header, CLOUD_FIELDS, np.concatenate(parts) if len(parts) > 1 else parts[0])
    cloud.is_dense = True
    return cloud


def _points(view: View, stride: int, min_confidence: float) -> np.ndarray:
    """(N,) of type POINT. All pixels are filled in and then packed at once, which is fast."""
    stride = stride or stride_within(view.depth.shape, CLOUD_POINTS)
    every = (slice(None, None, stride),) * 2
    depth, confidence = view.depth[every], view.confidence[every]
    points = np.empty(depth.shape, POINT)
    points["x"], points["y"], points["z"] = world_coordinates(view.depth, view.camera, stride)
    bgra = cv2.cvtColor(np.ascontiguousarray(view.image[every]), cv2.COLOR_RGB2BGRA)
    bgra[..., 3] = 0
    points["rgb"] = bgra.view("<f4")[..., 0]
    points["confidence"] = confidence
    points["generated"] = view.generated[every] * np.uint8(255)
    return points.reshape(-1).take(np.flatnonzero(np.isfinite(depth) & (confidence >= min_confidence)))


def frusta_to_msg(groups: dict[str, Sequence[Camera]], stamp: int, map_frame: str, length: float) -> MarkerArray:
    """A line list of frusta for each group, "sources" and "requests"; `length` of a frustum in metres."""
    header = Header(stamp=ns_to_stamp(stamp), frame_id=map_frame)
    return MarkerArray(markers=[_frusta(cameras, group, header, length) for group, cameras in groups.items()])


def _frusta(cameras: Sequence[Camera], group: str, header: Header, length: float) -> Marker:
    red, green, blue = FRUSTUM_COLORS[group]
    marker = Marker(header=header, ns=group, type=Marker.LINE_LIST, action=Marker.ADD if cameras else Marker.DELETE)
    marker.color = ColorRGBA(r=red, g=green, b=blue, a=1.0)
    marker.scale.x = length / 30
    marker.pose.orientation.w = 1.0
    for camera in cameras:
        corners = frustum(camera, length)
        for i in range(4):
            for end in (camera.center, corners[i], corners[i], corners[(i + 1) % 4]):
                marker.points.append(Point(x=float(end[0]), y=float(end[1]), z=float(end[2])))
    return marker
