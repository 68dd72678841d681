# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What `GLDClient` asks and is answered: requests filled from poses, answers as arrays, codes as errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from geometry_msgs.msg import PoseStamped
from rclpy.duration import Duration
from sensor_msgs_py import point_cloud2
from std_msgs.msg import Header

from gld_ros import errors
from gld_ros.action import SynthesizeTrajectory
from gld_ros.errors import GLDError, ModelError
from gld_ros.geometry.cameras import Camera
from gld_ros.msg import SynthesizedView
from gld_ros.ros.conversions import (
    camera_model,
    image_from_msg,
    info_from_camera,
    pose_to_matrix,
    pose_to_msg,
    stamp_to_ns,
)

Pose: TypeAlias = "np.ndarray | PoseStamped | Camera"
ANSWERED = (
    errors.NoContext, errors.TFError, errors.RequestTimeout, errors.InvalidRequest, errors.ModelError,
    errors.OutOfMemory, errors.Cancelled, errors.ScaleUnknown, errors.FileError, errors.NotActive,
)  # fmt: skip


@dataclass(frozen=True)
class ReceivedView:
    """image: (H, W, 3) uint8 RGB. depth: (H, W) float32 metres along z, NaN where unknown. confidence: (H, W) float32,
    0..1. generated: (H, W) bool, False where some source saw it. camera: K and c2w in the map frame. stamp: ns.
    message: all the node said."""

    image: np.ndarray
    depth: np.ndarray
    confidence: np.ndarray
    generated: np.ndarray
    camera: Camera
    stamp: int
    message: SynthesizedView


@dataclass(frozen=True)
class Answer:
    """points: structured array of x, y, z (metres, in the map frame), rgb, confidence, generated. latency: seconds that
    the node took; seconds: from the call to the answer. error: why a trajectory ended before its end. feedback: of a
    trajectory."""

    views: list[ReceivedView]
    points: np.ndarray
    latency: float
    seconds: float
    error: GLDError | None = None
    feedback: list[SynthesizeTrajectory.Feedback] = field(default_factory=list)


def fill_request(request: Any, poses: Pose | Sequence[Pose], frame: str, fields: dict[str, Any]) -> Any:
    """A request or goal for views at `poses`."""
    if isinstance(poses, (PoseStamped, Camera)) or (isinstance(poses, np.ndarray) and poses.ndim == 2):
        poses = [poses]
    header = Header(frame_id=frame)
    for pose in poses:
        if isinstance(pose, Camera):
            request.camera_info = info_from_camera(pose, header)
            pose = pose.c2w
        request.poses.append(pose if isinstance(pose, PoseStamped) else pose_to_msg(np.asarray(pose), header))
    for name, value in fields.items():
        setattr(request, name, Duration(seconds=value).to_msg() if name == "time_budget" else value)
    return request


def error_of(answer: Any) -> GLDError | None:
    """The named error of an answer; None for success."""
    if not hasattr(answer, "error_code") or answer.error_code == answer.NONE:
        return None
    kinds = [kind for kind in ANSWERED if getattr(answer, kind.code, None) == answer.error_code]
    return (kinds or [ModelError])[0](answer.error_message)


def answer_of(answer: Any, seconds: float, error: GLDError | None = None, feedback: Sequence[Any] = ()) -> Answer:
    points = point_cloud2.read_points(answer.points) if answer.points.width else np.empty(0)
    views = [_received(view) for view in answer.views]
    return Answer(views, points, answer.latency, seconds, error, list(feedback))


def _received(view: SynthesizedView) -> ReceivedView:
    size = view.image.height, view.image.width
    depth, confidence = (np.frombuffer(image.data, np.float32).reshape(size) for image in (view.depth, view.confidence))
    generated = np.frombuffer(view.generated.data, np.uint8).reshape(size) > 0
    camera = camera_model(view.camera_info).camera(pose_to_matrix(view.pose.pose))
    image = image_from_msg(view.image, "image")
    return ReceivedView(image, depth, confidence, generated, camera, stamp_to_ns(view.header.stamp), view)
