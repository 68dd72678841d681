# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Poses at the stamp of an image: TF, topics, and the queue of frames that wait."""

import gc
import threading
import weakref

import numpy as np
import pytest
import tf2_ros
from geometry_msgs.msg import Point, Pose, PoseStamped, Quaternion, TransformStamped
from hypothesis import given
from hypothesis import strategies as st
from nav_msgs.msg import Odometry
from rclpy.time import Time

from gld_ros.errors import InvalidRequest, TFError
from gld_ros.ros.node.poses import PendingFrames, TFPoses, TopicPoses

SECOND = 1_000_000_000


def transform(parent, child, stamp, x=0.0):
    message = TransformStamped(child_frame_id=child)
    message.header.frame_id = parent
    message.header.stamp = Time(nanoseconds=stamp).to_msg()
    message.transform.translation.x = x
    message.transform.rotation.w = 1.0
    return message


@pytest.fixture
def buffer():
    return tf2_ros.Buffer()


def test_tf_interpolates_at_the_stamp_and_never_takes_the_latest(buffer):
    poses = TFPoses(buffer, "map")
    buffer.set_transform_static(transform("base", "camera", 0, x=0.5), "test")
    for i in range(3):
        buffer.set_transform(transform("map", "base", (10 + i) * SECOND, x=float(i)), "test")
    assert poses.pose("camera", 10 * SECOND + SECOND // 4)[0, 3] == pytest.approx(0.75)
    assert poses.pose("map", 123)[0, 3] == 0
    assert poses.lookup("camera", 0)[0, 3] == pytest.approx(2.5)
    for frame, stamp in [("camera", 13 * SECOND), ("camera", 5 * SECOND), ("nowhere", 11 * SECOND)]:
        with pytest.raises(TFError, match=f"from '{frame}' to 'map'"):
            poses.pose(frame, stamp)


def stamped(stamp, x, frame="map", **quaternion):
    pose = Pose(position=Point(x=x), orientation=Quaternion(**quaternion))
    message = PoseStamped(pose=pose)
    message.header.frame_id = frame
    message.header.stamp = Time(nanoseconds=stamp).to_msg()
    return message


def test_pose_topic(buffer):
    poses = TopicPoses(TFPoses(buffer, "map"), max_gap=1.5)
    with pytest.raises(TFError, match="poses received: none"):
        poses.pose("camera", SECOND)
    poses.add(stamped(10 * SECOND, 1.0))
    poses.add(stamped(11 * SECOND, 3.0, z=np.sqrt(0.5), w=np.sqrt(0.5)))
    middle = poses.pose("camera", 10 * SECOND + SECOND // 2)
    assert middle[0, 3] == pytest.approx(2.0)
    assert np.degrees(np.arctan2(middle[1, 0], middle[0, 0])) == pytest.approx(45)
    assert poses.pose("camera", 11 * SECOND)[0, 3] == 3.0
    with pytest.raises(TFError, match="no pose around the stamp 12.000"):
        poses.pose("camera", 12 * SECOND)
    poses.add(stamped(14 * SECOND, 9.0))
    with pytest.raises(TFError, match="gap of 3.000 s"):
        poses.pose("camera", 12 * SECOND)
    with pytest.raises(InvalidRequest, match="norm 0"):
        poses.add(stamped(15 * SECOND, 0.0, w=0.0))
    poses.add(stamped(2 * SECOND, -1.0))  # the bag starts again
    with pytest.raises(TFError, match="2.000 s to 2.000 s"):
        poses.pose("camera", 11 * SECOND)


def odometry(second, x):
    """Of the frame `base` in `odom`."""
    message = Odometry(child_frame_id="base")
    message.header.frame_id = "odom"
    message.header.stamp = Time(seconds=second).to_msg()
    message.pose.pose.position.x = x
    message.pose.pose.orientation.w = 1.0
    return message


def test_odometry_joins_tf_on_both_sides(buffer):
    buffer.set_transform_static(transform("map", "odom", 0, x=100.0), "test")
    buffer.set_transform_static(transform("base", "camera", 0, x=0.5), "test")
    poses = TopicPoses(TFPoses(buffer, "map"), max_gap=1.0)
    poses.add(odometry(1, 7.0))
    assert poses.pose("camera", SECOND)[0, 3] == pytest.approx(107.5)


def test_key_frames_follow_the_odometry_frame_though_their_messages_are_forgotten(buffer):
    buffer.set_transform_static(transform("base", "camera", 0, x=0.5), "test")
    buffer.set_transform(transform("map", "odom", SECOND, x=100.0), "test")
    poses = TopicPoses(TFPoses(buffer, "map", "odom"), max_gap=1.0, capacity=5)
    for second in range(1, 20):
        poses.add(odometry(second, float(second)))
        if second == 1:
            poses.keep("camera", SECOND)
    with pytest.raises(TFError, match="no pose around"):
        poses.pose("camera", SECOND)
    buffer.set_transform(transform("map", "odom", 19 * SECOND, x=200.0), "test")  # a loop closure
    assert poses.pose_now("camera", SECOND)[0, 3] == pytest.approx(201.5)
    poses.clear()
    with pytest.raises(TFError):
        poses.pose_now("camera", SECOND)


def test_after_a_jump_of_time_tf_begins_anew_for_pose_topics_too(buffer):
    tf = TFPoses(buffer, "map")
    buffer.set_transform(transform("map", "base", 100 * SECOND, x=9.0), "test")
    TopicPoses(tf, max_gap=1.0).clear()
    buffer.set_transform(transform("map", "base", 5 * SECOND, x=1.0), "test")
    assert tf.lookup("base", 0)[0, 3] == 1.0


def test_poses_may_come_in_while_they_are_read(buffer):
    poses = TopicPoses(TFPoses(buffer, "map"), max_gap=1.0, capacity=1000)
    for i in range(1000):
        poses.add(stamped(SECOND + i, float(i)))
    ended = threading.Event()

    def feed():
        i = 1000
        while not ended.is_set():
            poses.add(stamped(SECOND + i, float(i)))
            i += 1

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        for _ in range(2000):
            newest, _ = poses._poses[-1]
            try:
                found = poses.pose("camera", newest)
            except TFError:  # forgotten already: the other thread had its turn for long
                continue
            assert found[0, 3] == newest - SECOND
    finally:
        ended.set()
        thread.join()


def test_pending_frames_wait_and_give_up(buffer):
    dropped = []
    poses = TFPoses(buffer, "map")
    pending = PendingFrames(poses, 3, 60.0, lambda item, reason: dropped.append((item, reason)))
    for i in range(4):
        pending.push("camera", (10 + i) * SECOND, f"frame{i}")
    assert [item for item, _ in dropped] == ["frame0"] and "more than 3 frames" in dropped[0][1]
    assert pending.retry() == [] and len(pending) == 3
    for stamp in (10, 12):
        buffer.set_transform(transform("map", "camera", stamp * SECOND, x=float(stamp)), "test")
    found = pending.retry()
    assert [(pose[0, 3], item) for pose, item in found] == [(11.0, "frame1"), (12.0, "frame2")]
    pending.timeout = 0.0
    assert pending.retry() == [] and len(pending) == 0
    assert dropped[-1][0] == "frame3" and "into the future" in dropped[-1][1]


def test_frames_that_waited_leave_the_memory_at_once(buffer):
    class Picture:
        pass

    buffer.set_transform(transform("map", "camera", 10 * SECOND), "test")
    pending = PendingFrames(TFPoses(buffer, "map"), 3, 60.0, lambda item, reason: None)
    picture = Picture()
    kept = weakref.ref(picture)
    gc.collect()
    gc.disable()
    try:
        pending.push("camera", 11 * SECOND, picture)
        assert pending.retry() == []
        pending.clear()
        del picture
        assert kept() is None
    finally:
        gc.enable()


class Source:
    """Knows the poses of some stamps."""

    def __init__(self):
        self.known = set()

    def pose(self, frame, stamp):
        if stamp not in self.known:
            raise TFError(f"nothing known of '{frame}' at {stamp}")
        return np.eye(4)


PENDING = st.lists(
    st.one_of(
        st.tuples(st.just("push"), st.integers(0, 30)),
        st.tuples(st.just("know"), st.integers(0, 30)),
        st.tuples(st.sampled_from(["retry", "clear", "late"]), st.just(0)),
    ),
    max_size=50,
)


@given(PENDING, st.integers(1, 5))
def test_each_frame_gets_its_pose_or_is_dropped_in_order(events, capacity):
    source, dropped, found, pushed = Source(), [], [], []
    pending = PendingFrames(source, capacity, 1e6, lambda item, reason: dropped.append(item) or reason[0])
    for number, (event, stamp) in enumerate(events):
        if event == "push":
            pending.push("camera", stamp, (number, stamp))
            pushed.append((number, stamp))
        elif event == "know":
            source.known.add(stamp)
        elif event == "clear":
            pending.clear()
            assert len(pending) == 0
        else:
            pending.timeout = -1.0 if event == "late" else 1e6
            now = [item for _, item in pending.retry()]
            assert all(stamp in source.known for _, stamp in now) and now == sorted(now)
            found += now
            pending.timeout = 1e6
        assert len(pending) <= capacity
        assert len(pushed) == len(found) + len(dropped) + len(pending)
    assert len({number for number, _ in [*found, *dropped]}) == len(found) + len(dropped)
