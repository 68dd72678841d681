# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the package expects of tf2_ros, of a ROS distribution or of pip_ros/."""

import threading
import time

import numpy as np
import pytest
import rclpy
import tf2_ros
from geometry_msgs.msg import TransformStamped
from rclpy.duration import Duration
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.time import Time
from rosgraph_msgs.msg import Clock
from scipy.spatial.transform import Rotation

from gld_ros.ros.demo.processes import own_domain

DOMAIN = own_domain()


def at(seconds: float) -> Time:
    return Time(nanoseconds=round(seconds * 1e9))


def transform(parent, child, seconds=0.0, xyz=(0.0, 0.0, 0.0), yaw=0.0) -> TransformStamped:
    message = TransformStamped(child_frame_id=child)
    message.header.frame_id = parent
    message.header.stamp = at(seconds).to_msg()
    t, r = message.transform.translation, message.transform.rotation
    t.x, t.y, t.z = map(float, xyz)
    r.x, r.y, r.z, r.w = Rotation.from_euler("z", yaw).as_quat().tolist()
    return message


def matrix(message: TransformStamped) -> np.ndarray:
    t, r = message.transform.translation, message.transform.rotation
    out = np.eye(4)
    out[:3, :3] = Rotation.from_quat([r.x, r.y, r.z, r.w]).as_matrix()
    out[:3, 3] = t.x, t.y, t.z
    return out


@pytest.fixture
def buffer() -> tf2_ros.Buffer:
    """map -> base moves and turns from 10 s to 12 s, base -> camera is static."""
    out = tf2_ros.Buffer()
    out.set_transform(transform("map", "base", 10.0, (0, 0, 0), 0.0), "test")
    out.set_transform(transform("map", "base", 12.0, (2, 4, 0), 1.0), "test")
    out.set_transform_static(transform("base", "camera", 0.0, (0.1, 0, 0.5), -0.3), "test")
    return out


@pytest.fixture
def context():
    out = rclpy.Context()
    rclpy.init(context=out, domain_id=DOMAIN)
    yield out
    rclpy.try_shutdown(context=out)


@pytest.fixture
def node(context):
    """A node of a running executor."""
    out = rclpy.create_node("conformance", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(out)
    stop = threading.Event()

    def spin():
        while not stop.is_set():
            executor.spin_once(timeout_sec=0.05)

    thread = threading.Thread(target=spin)
    thread.start()
    yield out
    stop.set()
    thread.join()
    executor.shutdown()
    out.destroy_node()


def until(condition, seconds=10.0) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def test_lookup_takes_points_of_the_source_into_the_target(buffer):
    found = buffer.lookup_transform("map", "camera", at(12.0))
    assert (found.header.frame_id, found.child_frame_id) == ("map", "camera")
    assert Time.from_msg(found.header.stamp).nanoseconds == at(12.0).nanoseconds
    expected = matrix(transform("", "", 0, (2, 4, 0), 1.0)) @ matrix(transform("", "", 0, (0.1, 0, 0.5), -0.3))
    np.testing.assert_allclose(matrix(found), expected, atol=1e-9)
    np.testing.assert_allclose(
        matrix(buffer.lookup_transform("camera", "map", at(12.0))), np.linalg.inv(expected), atol=1e-9
    )


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 0.9, 1.0])
def test_interpolation(buffer, share):
    found = buffer.lookup_transform("map", "base", at(10 + 2 * share))
    np.testing.assert_allclose(matrix(found), matrix(transform("", "", 0, (2 * share, 4 * share, 0), share)), atol=1e-6)


def test_interpolation_takes_the_shorter_arc():
    buffer = tf2_ros.Buffer()
    buffer.set_transform(transform("map", "base", 1.0, yaw=3.0), "test")
    second = transform("map", "base", 2.0, yaw=-3.0)
    r = second.transform.rotation
    r.x, r.y, r.z, r.w = -r.x, -r.y, -r.z, -r.w  # the same rotation
    buffer.set_transform(second, "test")
    np.testing.assert_allclose(
        matrix(buffer.lookup_transform("map", "base", at(1.5))), matrix(transform("", "", yaw=np.pi)), atol=1e-6
    )


def test_time_zero_is_the_newest_common_time(buffer):
    buffer.set_transform(transform("base", "arm", 11.0), "test")
    buffer.set_transform(transform("base", "arm", 11.5), "test")
    found = buffer.lookup_transform("map", "arm", Time())
    assert Time.from_msg(found.header.stamp).nanoseconds == at(11.5).nanoseconds
    np.testing.assert_allclose(matrix(found)[:3, 3], [1.5, 3.0, 0.0], atol=1e-6)


def test_static_transforms_hold_at_every_time(buffer):
    for time_ in (at(1.0), at(1e6), Time()):
        found = buffer.lookup_transform("base", "camera", time_)
        np.testing.assert_allclose(matrix(found)[:3, 3], [0.1, 0, 0.5], atol=1e-9)


def test_what_lies_above_the_common_ancestor_does_not_matter(buffer):
    buffer.set_transform_static(transform("base", "lidar", 0.0, (0, 0, 1)), "test")
    found = buffer.lookup_transform("lidar", "camera", at(500.0))
    np.testing.assert_allclose(matrix(found)[2, 3], -0.5, atol=1e-9)


def test_a_frame_in_itself_is_the_identity(buffer):
    np.testing.assert_allclose(matrix(buffer.lookup_transform("base", "base", at(11.0))), np.eye(4), atol=1e-9)


@pytest.mark.parametrize("seconds", [9.99, 12.01])
@pytest.mark.parametrize("frames", [("map", "base"), ("base", "map"), ("map", "camera"), ("camera", "map")])
def test_extrapolation_is_an_error_in_both_directions(buffer, frames, seconds):
    with pytest.raises(tf2_ros.ExtrapolationException):
        buffer.lookup_transform(*frames, at(seconds))
    assert not buffer.can_transform(*frames, at(seconds))


def test_one_sample_answers_its_own_time_only():
    buffer = tf2_ros.Buffer()
    buffer.set_transform(transform("map", "base", 5.0), "test")
    buffer.lookup_transform("map", "base", at(5.0))
    for seconds in (4.9, 5.1):
        with pytest.raises(tf2_ros.ExtrapolationException):
            buffer.lookup_transform("map", "base", at(seconds))


def test_unknown_frames(buffer):
    for frames in (("map", "nowhere"), ("nowhere", "map")):
        with pytest.raises(tf2_ros.LookupException, match="nowhere"):
            buffer.lookup_transform(*frames, at(11.0))
        assert not buffer.can_transform(*frames, at(11.0))


def test_trees_that_are_not_connected(buffer):
    buffer.set_transform_static(transform("mars", "rover"), "test")
    for time_ in (Time(), at(11.0)):
        with pytest.raises(tf2_ros.ConnectivityException):
            buffer.lookup_transform("map", "rover", time_)


@pytest.mark.parametrize("name", ["", "/map"])
def test_frame_names_that_are_not_allowed(buffer, name):
    with pytest.raises(tf2_ros.InvalidArgumentException):
        buffer.lookup_transform(name, "base", at(11.0))


def test_every_error_is_a_transform_exception():
    for name in ("Lookup", "Connectivity", "Extrapolation", "InvalidArgument", "Timeout"):
        assert issubclass(getattr(tf2_ros, f"{name}Exception"), tf2_ros.TransformException)


def test_reason_on_request(buffer):
    possible, reason = buffer.can_transform("map", "nowhere", at(11.0), return_debug_tuple=True)
    assert not possible and "nowhere" in reason
    assert buffer.can_transform("map", "base", at(11.0), return_debug_tuple=True)[0]


def test_lookup_transform_full(buffer):
    found = buffer.lookup_transform_full("base", at(10.0), "base", at(12.0), "map")
    np.testing.assert_allclose(matrix(found), matrix(transform("", "", 0, (2, 4, 0), 1.0)), atol=1e-9)
    assert Time.from_msg(found.header.stamp).nanoseconds == at(10.0).nanoseconds
    with pytest.raises(tf2_ros.ExtrapolationException):
        buffer.lookup_transform_full("base", at(10.0), "base", at(13.0), "map")


def test_unusable_transforms_are_left_out(buffer):
    for bad in (transform("map", "base", 13.0, (float("nan"), 0, 0)), transform("base", "base", 13.0)):
        buffer.set_transform(bad, "test")
    zero = transform("map", "base", 13.0)
    zero.transform.rotation.w = zero.transform.rotation.z = 0.0
    buffer.set_transform(zero, "test")
    with pytest.raises(tf2_ros.ExtrapolationException):
        buffer.lookup_transform("map", "base", at(13.0))


def test_transforms_may_come_out_of_order(buffer):
    buffer.set_transform(transform("map", "base", 11.0, (7, 0, 0)), "test")
    np.testing.assert_allclose(matrix(buffer.lookup_transform("map", "base", at(11.0)))[:3, 3], [7, 0, 0], atol=1e-9)


def test_the_cache_ends():
    buffer = tf2_ros.Buffer(cache_time=Duration(seconds=2))
    for seconds in range(1, 8):
        buffer.set_transform(transform("map", "base", seconds, (seconds, 0, 0)), "test")
    assert buffer.can_transform("map", "base", at(6.0))
    with pytest.raises(tf2_ros.ExtrapolationException):
        buffer.lookup_transform("map", "base", at(3.0))


def test_clear_keeps_static_transforms(buffer):
    buffer.clear()
    assert not buffer.can_transform("map", "base", at(11.0))
    assert buffer.can_transform("base", "camera", at(11.0))


def test_waiting_ends_when_the_transform_comes(buffer):
    late = threading.Timer(0.3, lambda: buffer.set_transform(transform("map", "base", 14.0), "test"))
    late.start()
    found = buffer.lookup_transform("map", "camera", at(13.0), timeout=Duration(seconds=20))
    late.join()
    np.testing.assert_allclose(matrix(found)[:3, 3][2], 0.5, atol=1e-6)


def test_waiting_ends_with_the_timeout(buffer):
    with pytest.raises(tf2_ros.ExtrapolationException):
        buffer.lookup_transform("map", "base", at(13.0), timeout=Duration(seconds=0.3))
    assert not buffer.can_transform("map", "nowhere", at(13.0), timeout=Duration(seconds=0.1))


def test_listener_and_broadcasters(context, node):
    """Over DDS; static transforms also reach a listener that comes later."""
    sender = rclpy.create_node("sender", context=context)
    static = tf2_ros.StaticTransformBroadcaster(sender)
    static.sendTransform(transform("base", "camera", xyz=(0, 0, 1)))
    static.sendTransform([transform("base", "lidar", xyz=(0, 0, 2))])
    dynamic = tf2_ros.TransformBroadcaster(sender)
    buffer = tf2_ros.Buffer()
    listener = tf2_ros.TransformListener(buffer, node)
    assert until(lambda: buffer.can_transform("camera", "lidar", Time()))

    def moved():
        dynamic.sendTransform(transform("map", "base", 3.0, (5, 0, 0)))
        return buffer.can_transform("map", "lidar", at(3.0))

    assert until(moved)
    np.testing.assert_allclose(matrix(buffer.lookup_transform("map", "lidar", at(3.0)))[:3, 3], [5, 0, 2])
    listener.unregister()
    sender.destroy_node()


def test_a_jump_back_in_time_clears_what_moves(context, node):
    """As when a bag starts over under use_sim_time."""
    node.set_parameters([Parameter("use_sim_time", value=True)])
    sender = rclpy.create_node("clock", context=context)
    publisher = sender.create_publisher(Clock, "/clock", 10)
    buffer = tf2_ros.Buffer(node=node)

    def clock_shows(seconds):
        publisher.publish(Clock(clock=at(seconds).to_msg()))
        return node.get_clock().now().nanoseconds == at(seconds).nanoseconds

    assert until(lambda: clock_shows(100.0))
    buffer.set_transform(transform("map", "base", 100.0), "test")
    buffer.set_transform_static(transform("base", "camera"), "test")
    assert until(lambda: clock_shows(101.0))
    assert buffer.can_transform("map", "base", at(100.0))
    assert until(lambda: clock_shows(50.0))
    assert until(lambda: not buffer.can_transform("map", "base", at(100.0)))
    assert buffer.can_transform("base", "camera", at(50.0))
    buffer.set_transform(transform("map", "base", 50.0), "test")
    assert buffer.can_transform("map", "base", at(50.0))
    sender.destroy_node()
