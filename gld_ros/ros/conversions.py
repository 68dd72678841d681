# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""ROS messages <-> cameras, images and views.

Pixel centres move by half a pixel here and, for what cameras send, in `data/camera_messages.py`: ROS counts centres as
whole numbers, `Camera` counts from the corner of the first pixel. BODY axes become OPTICAL ones (REP 103).
"""

from __future__ import annotations

import numpy as np
import tf_transformations
from builtin_interfaces.msg import Time
from cv_bridge import CvBridge
from geometry_msgs.msg import Point, Pose, PoseStamped, Quaternion, Transform
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from gld_ros.data.camera_messages import FULL_RANGE, camera_model, picture
from gld_ros.errors import InvalidRequest
from gld_ros.geometry.cameras import HALF_PIXEL, Camera
from gld_ros.geometry.distortion import Pinhole
from gld_ros.geometry.se3 import BODY_FROM_OPTICAL

_bridge = CvBridge()


def ros_name(message: type) -> str:
    """The name of a message's type, such as sensor_msgs/msg/Image."""
    return f"{message.__module__.split('.')[0]}/msg/{message.__name__}"


def stamp_to_ns(stamp: Time) -> int:
    return stamp.sec * 1_000_000_000 + stamp.nanosec


def ns_to_stamp(ns: int) -> Time:
    return Time(sec=ns // 1_000_000_000, nanosec=ns % 1_000_000_000)


MAX_POSITION = 1e9  # metres: 20 times around the Earth; the square of a larger one may not even be a number
MAX_QUATERNION = 1e9


def pose_to_matrix(pose: Pose | Transform, name: str = "pose") -> np.ndarray:
    """(4, 4) matrix of a Pose or Transform message; the quaternion is normalised.

    Raises InvalidRequest, naming `name`, for NaN, infinite or absurdly large numbers and for a quaternion of norm 0.
    """
    position, q = (
        (pose.translation, pose.rotation) if isinstance(pose, Transform) else (pose.position, pose.orientation)
    )
    translation = np.array([position.x, position.y, position.z])
    quaternion = np.array([q.x, q.y, q.z, q.w])
    if not (np.isfinite(translation).all() and np.isfinite(quaternion).all()):
        raise InvalidRequest(f"{name}: holds NaN or infinite numbers")
    if np.abs(translation).max() > MAX_POSITION:
        raise InvalidRequest(f"{name}: lies beyond {MAX_POSITION:g} m")
    if np.abs(quaternion).max() > MAX_QUATERNION:
        raise InvalidRequest(f"{name}: the quaternion holds numbers above {MAX_QUATERNION:g}, expected norm 1")
    norm = np.linalg.norm(quaternion)
    if norm < 1e-6:
        raise InvalidRequest(f"{name}: the quaternion has norm 0, expected 1")
    matrix = tf_transformations.quaternion_matrix(quaternion / norm)
    matrix[:3, 3] = translation
    return matrix


def matrix_to_pose(matrix: np.ndarray) -> Pose:
    """Pose message of a rigid (4, 4) matrix."""
    x, y, z = (float(value) for value in matrix[:3, 3])
    qx, qy, qz, qw = (float(value) for value in tf_transformations.quaternion_from_matrix(matrix))
    return Pose(position=Point(x=x, y=y, z=z), orientation=Quaternion(x=qx, y=qy, z=qz, w=qw))


def optical_pose(matrix: np.ndarray, body: bool) -> np.ndarray:
    """The (4, 4) pose in OPTICAL axes of a camera whose pose is given in BODY axes if `body` (REP 103)."""
    return matrix @ BODY_FROM_OPTICAL if body else matrix


def requested_intrinsics(info: CameraInfo, max_side: int) -> Pinhole | None:
    """The pinhole a request asks for; None where its camera_info is empty. Raises InvalidRequest."""
    if info.width == 0 and info.height == 0 and not any(info.k):
        return None
    if any(info.d):
        raise InvalidRequest("camera_info: D is not zero, but synthesized views are pinhole images; expected D empty")
    if max(info.width, info.height) > max_side:
        raise InvalidRequest(f"camera_info: size {info.width}x{info.height}, at most {max_side} a side are made")
    return camera_model(info)


def info_from_camera(camera: Camera, header: Header) -> CameraInfo:
    """CameraInfo of an undistorted pinhole."""
    K = camera.K - HALF_PIXEL
    P = np.concatenate([K, np.zeros((3, 1))], axis=1)
    return CameraInfo(
        header=header,
        width=camera.width,
        height=camera.height,
        distortion_model="plumb_bob",
        d=[0.0] * 5,
        k=K.ravel().tolist(),
        r=np.eye(3).ravel().tolist(),
        p=P.ravel().tolist(),
    )


def image_from_msg(msg: Image | CompressedImage, name: str, levels: tuple[int, int] = FULL_RANGE) -> np.ndarray:
    """(H, W, 3) uint8 RGB of an image of a colour or grey encoding; as `picture`."""
    return picture(msg, name, levels)


def image_to_msg(image: np.ndarray, encoding: str, header: Header) -> Image:
    """Image message of an array whose type fits `encoding`."""
    return _bridge.cv2_to_imgmsg(np.ascontiguousarray(image), encoding, header)


def pose_to_msg(c2w: np.ndarray, header: Header) -> PoseStamped:
    return PoseStamped(header=header, pose=matrix_to_pose(c2w))
