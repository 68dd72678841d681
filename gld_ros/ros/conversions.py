# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""ROS messages <-> cameras, images and views.

The one place where pixel centres move by half a pixel (ROS counts centres as whole numbers, `Camera` counts from the
corner of the first pixel) and where BODY axes become OPTICAL ones (REP 103).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import tf_transformations
from builtin_interfaces.msg import Time
from cv_bridge import CvBridge
from geometry_msgs.msg import Point, Pose, PoseStamped, Quaternion, Transform
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from gld_ros.errors import InvalidRequest
from gld_ros.geometry.cameras import HALF_PIXEL, Camera
from gld_ros.geometry.distortion import Pinhole, undistort
from gld_ros.geometry.se3 import BODY_FROM_OPTICAL

_bridge = CvBridge()
MAX_CAMERA_SIDE = 8192  # pixels; bounds the time and memory that the undistortion tables of one CameraInfo may take


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


def camera_model(info: CameraInfo, rectified: bool = False, name: str = "camera_info") -> Pinhole:
    """The pinhole of a CameraInfo: K and D for a raw image, P for a `rectified` one; ROI and binning are applied.

    Cached per content, as every image brings its own message. Raises InvalidRequest, naming `name`, for sizes, K, P or
    a ROI that cannot be and for an unknown distortion model.
    """
    roi = (info.roi.x_offset, info.roi.y_offset, info.roi.width or info.width, info.roi.height or info.height)
    binning = (max(info.binning_x, 1), max(info.binning_y, 1))
    K = np.array(info.p).reshape(3, 4)[:, :3] if rectified else np.array(info.k)
    D = () if rectified or not any(info.d) else tuple(info.d)
    try:
        return _camera_model(tuple(K.ravel()), D, info.distortion_model, info.width, info.height, roi, binning)
    except InvalidRequest as error:
        raise InvalidRequest(f"{name}: {error}") from None


@lru_cache(maxsize=32)
def _camera_model(
    K: tuple[float, ...],
    D: tuple[float, ...],
    distortion_model: str,
    width: int,
    height: int,
    roi: tuple[int, int, int, int],
    binning: tuple[int, int],
) -> Pinhole:
    full = Camera(np.reshape(K, (3, 3)) + HALF_PIXEL, np.eye(4), width, height).check("CameraInfo")
    if max(width, height) > MAX_CAMERA_SIDE:
        raise InvalidRequest(f"CameraInfo: size {width}x{height}, at most {MAX_CAMERA_SIDE} a side are taken")
    if roi[0] + roi[2] > width or roi[1] + roi[3] > height:
        raise InvalidRequest(f"CameraInfo: roi (x, y, width, height) {roi} does not lie within {width}x{height}")
    window = full.cropped(*roi)
    camera = window.resized(window.width // binning[0], window.height // binning[1]).check("CameraInfo")
    return undistort(camera.K, D, distortion_model, camera.width, camera.height, "CameraInfo")


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


def image_from_msg(msg: Image | CompressedImage, name: str) -> np.ndarray:
    """(H, W, 3) uint8 RGB of an image of any encoding cv_bridge knows as a colour or grey one.

    Raises InvalidRequest, naming `name`, for an unknown encoding, wrong sizes, or data that cannot be decoded.
    """
    kind = msg.format if isinstance(msg, CompressedImage) else msg.encoding
    try:
        if isinstance(msg, CompressedImage):
            msg = _decompressed(msg)
        if msg.height < 1 or msg.width < 1 or len(msg.data) < msg.step * msg.height or msg.step < msg.width:
            raise InvalidRequest(
                f"{name}: {msg.width}x{msg.height} pixels with step {msg.step} do not fit into {len(msg.data)} bytes"
            )
        return _bridge.imgmsg_to_cv2(msg, "rgb8")
    except InvalidRequest:
        raise
    except Exception as error:  # cv_bridge raises CvBridgeError, cv2.error, KeyError, TypeError, by kind of damage
        raise InvalidRequest(f"{name}: cannot decode an image of encoding '{kind}': {error}") from None


def _decompressed(msg: CompressedImage) -> Image:
    """The raw message of a compressed one; cv_bridge itself cannot turn a grey JPEG into rgb8."""
    image = _bridge.compressed_imgmsg_to_cv2(msg)
    if image is None:
        raise ValueError("no codec can read the data")
    channels = 1 if image.ndim == 2 else image.shape[2]
    depth = 8 * image.dtype.itemsize
    return _bridge.cv2_to_imgmsg(image, {1: f"mono{depth}", 3: f"bgr{depth}", 4: f"bgra{depth}"}[channels])


def image_to_msg(image: np.ndarray, encoding: str, header: Header) -> Image:
    """Image message of an array whose type fits `encoding`."""
    return _bridge.cv2_to_imgmsg(np.ascontiguousarray(image), encoding, header)


def pose_to_msg(c2w: np.ndarray, header: Header) -> PoseStamped:
    return PoseStamped(header=header, pose=matrix_to_pose(c2w))
