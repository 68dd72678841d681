# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Messages <-> cameras, images, views."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point, Pose, Quaternion
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, RegionOfInterest
from sensor_msgs_py import point_cloud2
from std_msgs.msg import Header

from gld_ros.calibration import Calibration, RegionCalibration
from gld_ros.errors import InvalidRequest
from gld_ros.geometry.cameras import Camera
from gld_ros.ros import conversions
from gld_ros.ros.node.view_messages import cloud_to_msg, frusta_to_msg, view_to_msg
from gld_ros.views import Scale, View

K = np.array([[200.0, 0, 79.5], [0, 210, 59.5], [0, 0, 1]])
UTM = (448_262.25, 5_411_932.5, 120.0)


def info(**changes):
    values = {"width": 160, "height": 120, "k": K.ravel().tolist(), "distortion_model": "plumb_bob"}
    return CameraInfo(**{**values, **changes})


def test_pixel_centres_move_by_half_a_pixel_and_back():
    camera = conversions.camera_model(info()).camera(np.eye(4))
    np.testing.assert_allclose(camera.K[:2, 2], (80, 60))
    header = Header(frame_id="camera")
    message = conversions.info_from_camera(camera, header)
    np.testing.assert_allclose(np.reshape(message.k, (3, 3)), K)
    np.testing.assert_allclose(np.reshape(message.p, (3, 4))[:, :3], K)
    assert (message.width, message.height, message.header.frame_id) == (160, 120, "camera")


def test_binning_and_region_of_interest():
    message = info(binning_x=2, binning_y=2)
    message.roi.x_offset, message.roi.y_offset, message.roi.width, message.roi.height = 20, 10, 100, 80
    model = conversions.camera_model(message)
    assert (model.width, model.height) == (50, 40)
    np.testing.assert_allclose(model.K, [[100, 0, 30], [0, 105, 25], [0, 0, 1]])


@pytest.mark.parametrize(
    "model, D",
    [
        ("plumb_bob", [-0.25, 0.08, 0.001, -0.001, 0.0]),
        ("rational_polynomial", [0.2, -0.1, 0.0, 0.0, 0.01, 0.5, -0.2, 0.02]),
        ("equidistant", [0.05, -0.01, 0.002, 0.0]),
    ],
)
def test_undistortion_puts_points_where_the_pinhole_sees_them(model, D):
    message = info(distortion_model=model, d=D)
    pinhole = conversions.camera_model(message)
    points = np.array([(x, y, 2.0) for x in (-0.4, 0, 0.4) for y in (-0.3, 0, 0.3)])
    if model == "equidistant":
        pixels, _ = cv2.fisheye.projectPoints(points[:, None], np.zeros(3), np.zeros(3), K, np.array(D))
    else:
        pixels, _ = cv2.projectPoints(points, np.zeros(3), np.zeros(3), K, np.array(D))
    image = np.zeros((120, 160, 3), np.uint8)
    for u, v in pixels.reshape(-1, 2):
        cv2.circle(image, (round(u * 16), round(v * 16)), 3 * 16, (255, 255, 255), -1, cv2.LINE_AA, 4)
    undistorted = pinhole.apply(image, "image")
    expected = points @ pinhole.K.T
    for u, v in expected[:, :2] / expected[:, 2:] - 0.5:
        assert undistorted[round(v), round(u)].min() > 200
    assert conversions.camera_model(info(distortion_model=model, d=D)).maps is pinhole.maps  # cached by content


def test_rectified_images_use_p_and_ignore_d():
    P = [150.0, 0, 70, -15, 0, 150, 50, 0, 0, 0, 1, 0]
    model = conversions.camera_model(info(d=[-0.25, 0.08, 0.0, 0.0, 0.0], p=P), rectified=True)
    assert model.maps is None
    np.testing.assert_allclose(model.K, [[150, 0, 70.5], [0, 150, 50.5], [0, 0, 1]])


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"k": [0.0] * 9}, "K is all zeros"),
        ({"k": [float("nan")] * 9}, "fx=nan"),
        ({"width": 0, "height": 0}, "size 0x0"),
        ({"d": [0.1] * 5, "distortion_model": "magic"}, "unknown distortion model 'magic'"),
        ({"d": [0.1] * 3}, "D holds 3 numbers, expected finite ones, 4 or 5"),
        ({"d": [0.1] * 5, "distortion_model": "equidistant"}, "D holds 5 numbers, expected finite ones, 4"),
        ({"d": [float("nan")] * 5}, "D holds 5 numbers, expected finite ones"),
        ({"d": [0.1] * 5, "width": 30000, "height": 30000}, "size 30000x30000, at most 8192"),
        ({"roi": RegionOfInterest(width=4_000_000_000, height=9)}, "roi .* does not lie within 160x120"),
        ({"roi": RegionOfInterest(x_offset=100, width=100, height=9)}, "roi .* does not lie within 160x120"),
    ],
)
def test_camera_info_that_cannot_be(changes, reason):
    with pytest.raises(InvalidRequest, match=f"'/cam/info'.*{reason}"):
        conversions.camera_model(info(**changes), name="'/cam/info'")


def test_requested_intrinsics():
    assert conversions.requested_intrinsics(CameraInfo(), 4096) is None
    assert conversions.requested_intrinsics(info(), 4096).width == 160
    for changes, reason in [
        ({"k": [0.0] * 9}, "K is all zeros"),
        ({"d": [0.1] * 5}, "D is not zero"),
        ({"width": 5000}, "at most 4096"),
        ({"width": 0}, "size 0x120"),
    ]:
        with pytest.raises(InvalidRequest, match=reason):
            conversions.requested_intrinsics(info(**changes), 4096)


def test_poses_round_trip_at_utm_size():
    q = np.array([0.1, -0.5, 0.2, 0.7])
    q /= np.linalg.norm(q)
    pose = Pose(position=Point(x=UTM[0], y=UTM[1], z=UTM[2]), orientation=Quaternion(x=q[0], y=q[1], z=q[2], w=q[3]))
    matrix = conversions.pose_to_matrix(pose)
    back = conversions.matrix_to_pose(matrix)
    assert (back.position.x, back.position.y, back.position.z) == UTM
    o = back.orientation
    assert abs(np.dot(q, (o.x, o.y, o.z, o.w))) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(
    "pose, reason",
    [
        (Pose(position=Point(x=float("nan"))), "NaN"),
        (Pose(orientation=Quaternion(w=float("inf"))), "infinite"),
        (Pose(orientation=Quaternion(w=0.0)), "norm 0"),
    ],
)
def test_poses_that_cannot_be(pose, reason):
    with pytest.raises(InvalidRequest, match=rf"poses\[3\].*{reason}"):
        conversions.pose_to_matrix(pose, "poses[3]")


def test_body_axes_become_optical_ones():
    optical = conversions.optical_pose(np.eye(4), body=True)
    np.testing.assert_array_equal(optical[:3, 2], (1, 0, 0))  # looks forward
    np.testing.assert_array_equal(optical[:3, 0], (0, -1, 0))  # its right is not the left
    np.testing.assert_array_equal(optical[:3, 1], (0, 0, -1))  # its down is not up
    assert conversions.optical_pose(np.eye(4), body=False) is not None


def picture():
    return np.random.default_rng(0).integers(0, 255, (6, 8, 3), dtype=np.uint8)


def test_images_of_every_common_encoding():
    rgb = picture()
    bgr = np.ascontiguousarray(rgb[..., ::-1])
    alpha = np.dstack([rgb, np.full((6, 8), 255, np.uint8)])
    for encoding, array in {"rgb8": rgb, "bgr8": bgr, "rgba8": alpha}.items():
        message = conversions.image_to_msg(array, encoding, Header())
        np.testing.assert_array_equal(conversions.image_from_msg(message, "image"), rgb)
    grey = conversions.image_to_msg(rgb[..., 0], "mono8", Header())
    np.testing.assert_array_equal(conversions.image_from_msg(grey, "image"), np.repeat(rgb[..., :1], 3, 2))
    padded = Image(
        height=6, width=8, encoding="rgb8", step=30, data=np.pad(rgb.reshape(6, 24), ((0, 0), (0, 6))).tobytes()
    )
    np.testing.assert_array_equal(conversions.image_from_msg(padded, "image"), rgb)
    for kind in ("png", "jpeg"):
        data = cv2.imencode(f".{kind}", rgb[..., 0])[1]
        decoded = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)
        one = CompressedImage(format=kind, data=data.tobytes())
        np.testing.assert_array_equal(conversions.image_from_msg(one, "image"), np.repeat(decoded[..., None], 3, 2))
    png = CompressedImage(format="png", data=cv2.imencode(".png", bgr)[1].tobytes())
    np.testing.assert_array_equal(conversions.image_from_msg(png, "image"), rgb)


@pytest.mark.parametrize(
    "message, reason",
    [
        (Image(height=6, width=8, encoding="magic8", step=24, data=bytes(144)), "magic8"),
        (Image(height=6, width=8, encoding="32FC1", step=32, data=bytes(192)), "32FC1"),
        (Image(height=6, width=8, encoding="rgb8", step=24, data=bytes(100)), "100 bytes"),
        (Image(encoding="rgb8"), "0x0"),
        (CompressedImage(format="jpeg", data=b"no picture"), "jpeg"),
        (CompressedImage(format="jpeg"), "jpeg"),
    ],
)
def test_images_that_cannot_be_decoded(message, reason):
    with pytest.raises(InvalidRequest, match=f"'/cam/image'.*{reason}"):
        conversions.image_from_msg(message, "'/cam/image'")


def test_image_of_another_size_than_its_camera_info():
    with pytest.raises(InvalidRequest, match="8x6.*160x120"):
        conversions.camera_model(info()).apply(picture(), "'/cam/image'")


def view():
    rng = np.random.default_rng(1)
    depth = rng.uniform(1, 5, (120, 160)).astype(np.float32)
    depth[:10] = np.nan
    c2w = np.eye(4)
    c2w[:3, 3] = (1, 2, 3)
    return View(
        camera=Camera(K + conversions.HALF_PIXEL, c2w, 160, 120),
        image=rng.integers(0, 255, (120, 160, 3), dtype=np.uint8),
        depth=depth,
        confidence=rng.uniform(0, 1, (120, 160)).astype(np.float32),
        generated=rng.uniform(size=(120, 160)) > 0.5,
        scale=Scale(0.7, "stereo", 0.02),
        model="mini",
        seed=7,
        source_stamps=(1_500_000_000, 2_000_000_001),
        samples=3,
        novelty=0.25,
    )


def test_view_message():
    message = view_to_msg(view(), 3_000_000_005, "map", "gld_camera")
    assert message.header.stamp == Time(sec=3, nanosec=5)
    assert (message.header.frame_id, message.pose.header.frame_id) == ("gld_camera", "map")
    assert message.pose.pose.position == Point(x=1.0, y=2.0, z=3.0)
    assert [message.image.encoding, message.depth.encoding] == ["rgb8", "32FC1"]
    assert [message.confidence.encoding, message.generated.encoding] == ["32FC1", "mono8"]
    depth = np.frombuffer(message.depth.data, np.float32).reshape(120, 160)
    np.testing.assert_array_equal(depth, view().depth)
    np.testing.assert_array_equal(np.frombuffer(message.generated.data, np.uint8) == 255, view().generated.ravel())
    assert (message.model, message.seed, message.scale_method) == ("mini", 7, "stereo")
    assert (message.samples, message.calibrated, message.novelty) == (3, False, 0.25)
    assert message.source_stamps == [Time(sec=1, nanosec=500_000_000), Time(sec=2, nanosec=1)]
    assert message.scale == pytest.approx(0.7)


def test_bounds_of_a_view_message():
    region = RegionCalibration((0.01, 0.1), (0.9, 0.1), (0.7, 1.6, 2.3, 3.0))
    made = replace(view(), spread=np.full((120, 160), 0.1, np.float32), calibration=Calibration({}, region, region))
    message = view_to_msg(made, 0, "map", "gld_camera", 0.9)
    assert message.depth_coverage == pytest.approx(0.9) and message.depth_lower.header == message.depth.header
    for image, sign in ((message.depth_lower, -1), (message.depth_upper, 1)):
        bound = np.frombuffer(image.data, np.float32).reshape(image.height, image.width)
        np.testing.assert_allclose(bound, made.depth * np.exp(sign * 0.23), rtol=1e-5)  # NaN where depth is
    bare = view_to_msg(made, 0, "map", "gld_camera")
    assert bare.depth_coverage == 0 and bare.depth_lower.width == bare.depth_upper.width == 0
    message = view_to_msg(replace(made, trust=0.9), 0, "map", "gld_camera", 0.9)
    lower = np.frombuffer(message.depth_lower.data, np.float32).reshape(120, 160)
    np.testing.assert_array_equal(np.isnan(lower), np.isnan(made.depth) | made.generated)


def test_cloud():
    made = view()
    cloud = cloud_to_msg([made, made], 0, "map", stride=2, min_confidence=0.5)
    keep = np.isfinite(made.depth[::2, ::2]) & (made.confidence[::2, ::2] >= 0.5)
    assert cloud.header.frame_id == "map" and cloud.is_dense and cloud.height == 1
    assert cloud.width == 2 * keep.sum()
    points = point_cloud2.read_points(cloud)[: keep.sum()]
    rows, columns = np.nonzero(keep)
    z = made.depth[::2, ::2][keep]
    np.testing.assert_allclose(points["x"], 1 + (2 * columns - 79.5) / 200 * z, atol=1e-6)
    np.testing.assert_allclose(points["y"], 2 + (2 * rows - 59.5) / 210 * z, atol=1e-6)
    np.testing.assert_allclose(points["z"], 3 + z, rtol=1e-5)
    packed = np.ascontiguousarray(points["rgb"]).view(np.uint32)
    colors = np.stack([packed >> 16 & 255, packed >> 8 & 255, packed & 255], axis=1)
    np.testing.assert_array_equal(colors, made.image[::2, ::2][keep])
    np.testing.assert_array_equal(points["generated"] == 255, made.generated[::2, ::2][keep])
    assert cloud_to_msg([], 0, "map").width == 0


def test_the_cloud_of_a_large_view_is_thinned_out_unless_a_stride_is_given():
    camera = Camera(np.array([[600.0, 0, 320], [0, 600, 240], [0, 0, 1]]), np.eye(4), 640, 480)
    depth = np.full((480, 640), 2.0, np.float32)
    view = View(camera, np.zeros((480, 640, 3), np.uint8), depth, depth / 2, depth > 3, Scale(1, "stereo", 0), "m", 0)
    assert cloud_to_msg([view], 0, "map", stride=1).width == 640 * 480
    assert cloud_to_msg([view, view], 0, "map").width == 2 * 320 * 240


def test_frusta():
    camera = view().camera
    message = frusta_to_msg({"sources": [camera, camera], "requests": []}, 0, "map", 0.5)
    sources, requests = message.markers
    assert (sources.ns, sources.header.frame_id, len(sources.points)) == ("sources", "map", 32)
    assert sources.action == sources.ADD and requests.action == requests.DELETE
    assert sources.points[0] == Point(x=1.0, y=2.0, z=3.0)
    assert {round(point.z, 6) for point in sources.points} == {3.0, 3.5}
