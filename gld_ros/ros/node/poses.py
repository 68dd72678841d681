# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The pose of a camera at the stamp of its image: from TF or from a pose topic, never the latest one."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import tf2_ros
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Odometry
from rclpy.duration import Duration
from rclpy.time import Time

from gld_ros.errors import TFError
from gld_ros.geometry.se3 import interpolate_pose, rotation_angle
from gld_ros.ros.conversions import pose_to_matrix, stamp_to_ns
from gld_ros.ros.node.pairing import JUMP_BACK, TimeLine
from gld_ros.scene.key_frames import KeyFrameBuffer
from gld_ros.views import SourceView

LOOKED_AT = 8  # of the newest key frames: a map frame that moved moved for all
KEPT = 10_000  # poses of key frames in the odometry frame; at most so many key frames are kept


class TFPoses:
    """(4, 4) poses of frames in the map frame from a TF buffer, at stamps in ns; TFError where one is not known.

    odom_frame: the one that drifts in the map frame, if there is one (REP 105).
    """

    def __init__(self, buffer: tf2_ros.Buffer, map_frame: str, odom_frame: str = "") -> None:
        self.map_frame, self.odom_frame = map_frame, odom_frame
        self._buffer = buffer
        self._in_odom: dict[tuple[str, int], np.ndarray] = {}  # of key frames; the history of TF ends after 10 s

    def pose(self, frame: str, stamp: int) -> np.ndarray:
        """The pose of `frame` at `stamp`."""
        return self.lookup(frame, stamp)

    def pose_now(self, frame: str, stamp: int) -> np.ndarray:
        """`pose` as it is known now: a loop closure moves the odometry frame, only the newest transform has it."""
        if not self.odom_frame:
            return self.lookup(frame, stamp)
        in_odom = self._in_odom.get((frame, stamp))
        if in_odom is None:
            in_odom = self.lookup(frame, stamp, target=self.odom_frame)
        return self.lookup(self.odom_frame, 0) @ in_odom

    def keep(self, frame: str, stamp: int) -> None:
        """A key frame was made of this `pose`: `pose_now` will be asked for it. Raises TFError if it will not know."""
        if self.odom_frame:
            self._in_odom[frame, stamp] = self.lookup(frame, stamp, target=self.odom_frame)
            if len(self._in_odom) > KEPT:
                del self._in_odom[next(iter(self._in_odom))]

    def newest(self, frame: str) -> int:
        """The newest stamp (ns) at which the pose of `frame` is known; 0 where it is not, or always."""
        try:
            found = self._buffer.lookup_transform(self.map_frame, frame.lstrip("/"), Time())
        except (tf2_ros.TransformException, ValueError):
            return 0
        return stamp_to_ns(found.header.stamp)

    def add(self, msg: PoseStamped | Odometry) -> None:
        raise TypeError("poses come from TF here, not from a topic")

    def lookup(self, frame: str, stamp: int, timeout: float = 0.0, target: str | None = None) -> np.ndarray:
        """(4, 4) of `frame` in `target` (the map frame) at `stamp` (ns, 0 = newest), waiting up to `timeout` seconds.

        Raises TFError with the reason TF gives. With a timeout it must not be called in the executor's thread.
        """
        frame, target = frame.lstrip("/"), target or self.map_frame
        if frame == target:
            return np.eye(4)
        try:
            found = self._buffer.lookup_transform(target, frame, Time(nanoseconds=stamp), Duration(seconds=timeout))
            return pose_to_matrix(found.transform, "transform")
        except (tf2_ros.TransformException, ValueError) as error:
            raise TFError(f"no transform from '{frame}' to '{target}': {error}") from None

    def clear(self) -> None:
        """Forget everything: the clock jumped back."""
        self._buffer.clear()
        self._in_odom.clear()


class TopicPoses:
    """As `TFPoses`, from PoseStamped (the pose of the camera) or Odometry (the pose of its child frame), interpolated.

    capacity: messages kept. max_gap: seconds between two messages that may be interpolated over. Where the message's
    frame is not the map frame, or an Odometry's child frame is not the camera's, TF joins them.
    """

    def __init__(self, tf: TFPoses, max_gap: float, capacity: int = 1000) -> None:
        self._tf = tf
        self._max_gap = max_gap
        self._poses: deque[tuple[int, np.ndarray]] = deque(maxlen=capacity)
        self._time = TimeLine()
        self._frame = ""
        self._child = ""
        self._kept: dict[tuple[str, int], np.ndarray] = {}  # of key frames, in the messages' frame

    def add(self, msg: PoseStamped | Odometry) -> None:
        """Take a message. Raises InvalidRequest for NaN or a quaternion of norm 0."""
        odometry = isinstance(msg, Odometry)
        matrix = pose_to_matrix(msg.pose.pose if odometry else msg.pose, "pose")
        self._frame, self._child = msg.header.frame_id, msg.child_frame_id if odometry else ""
        stamp = stamp_to_ns(msg.header.stamp)
        if self._time.follow(stamp) == "back":
            self._poses.clear()
        while self._poses and stamp < self._poses[-1][0] - JUMP_BACK:
            self._poses.pop()  # it was stamped with the future
        if not self._poses or stamp > self._poses[-1][0]:
            self._poses.append((stamp, matrix))

    def pose(self, frame: str, stamp: int) -> np.ndarray:
        pose = self._in_messages(frame, stamp)
        return self._in_map(stamp) @ pose

    def pose_now(self, frame: str, stamp: int) -> np.ndarray:
        kept = self._kept.get((frame, stamp))
        pose = self._in_messages(frame, stamp) if kept is None else kept
        return self._in_map(0 if self._frame == self._tf.odom_frame else stamp) @ pose

    def newest(self, frame: str) -> int:
        return self._poses[-1][0] if self._poses else 0

    def keep(self, frame: str, stamp: int) -> None:
        self._kept[frame, stamp] = self._in_messages(frame, stamp)
        if len(self._kept) > KEPT:
            del self._kept[next(iter(self._kept))]

    def _in_map(self, stamp: int) -> np.ndarray:
        """(4, 4) of the messages' frame in the map frame."""
        return self._tf.lookup(self._frame or self._tf.map_frame, stamp)

    def _in_messages(self, frame: str, stamp: int) -> np.ndarray:
        """(4, 4) of `frame` in the messages' frame."""
        pose = self._interpolated(stamp)
        if self._child and self._child != frame:
            pose = pose @ self._tf.lookup(frame, stamp, target=self._child)
        return pose

    def _interpolated(self, stamp: int) -> np.ndarray:
        poses = list(self._poses)  # another thread may add to them
        stamps = [known for known, _ in poses]
        after = bisect_left(stamps, stamp)
        if after < len(stamps) and stamps[after] == stamp:
            return poses[after][1]
        if after == 0 or after == len(stamps):
            known = f"{stamps[0] / 1e9:.3f} s to {stamps[-1] / 1e9:.3f} s" if stamps else "none"
            raise TFError(f"no pose around the stamp {stamp / 1e9:.3f} s; poses received: {known}")
        (start, a), (end, b) = poses[after - 1 : after + 1]
        if end - start > self._max_gap * 1e9:
            raise TFError(
                f"a gap of {(end - start) / 1e9:.3f} s between poses, at most {self._max_gap:g} s are bridged"
            )
        return interpolate_pose(a, b, (stamp - start) / (end - start))

    def clear(self) -> None:
        self._time = TimeLine()
        self._poses.clear()
        self._kept.clear()
        self._tf.clear()


class PendingFrames:
    """Bounded queue of frames that wait for their pose.

    on_drop(item, reason): called for a frame that waited longer than `timeout` seconds or had to make room.
    """

    def __init__(
        self, source: TFPoses | TopicPoses, capacity: int, timeout: float, on_drop: Callable[[Any, str], None]
    ) -> None:
        self.timeout = timeout
        self._source = source
        self._capacity = capacity
        self._on_drop = on_drop
        self._frames: deque[tuple[float, str, int, Any]] = deque()

    def __len__(self) -> int:
        return len(self._frames)

    def push(self, frame: str, stamp: int, item: Any) -> None:
        """Wait for the pose of `frame` at `stamp` (ns) on behalf of `item`."""
        self._frames.append((time.monotonic(), frame, stamp, item))
        if len(self._frames) > self._capacity:
            *_, oldest = self._frames.popleft()
            self._on_drop(oldest, f"more than {self._capacity} frames wait for a pose")

    def retry(self) -> list[tuple[np.ndarray, Any]]:
        """The frames whose pose is known now, with it; frames out of time are dropped."""
        found: list[tuple[np.ndarray, Any]] = []
        waiting: deque[tuple[float, str, int, Any]] = deque()
        for arrived, frame, stamp, item in self._frames:
            try:
                found.append((self._source.pose(frame, stamp), item))
            except TFError as error:
                if time.monotonic() - arrived > self.timeout:
                    self._on_drop(item, f"no pose within {self.timeout:g} s: {error}")
                else:
                    waiting.append((arrived, frame, stamp, item))
        self._frames = waiting
        return found

    def clear(self) -> None:
        for *_, item in self._frames:
            self._on_drop(item, "the clock jumped back")
        self._frames.clear()


def follow_map_frame(
    context: KeyFrameBuffer, pose_now: Callable[[str, int], np.ndarray], translation: float, rotation: float
) -> tuple[int, int]:
    """Loop closures: when the map frame moves under the kept key frames, they move with it or go.

    Compares the newest with pose_now(camera, stamp), their (4, 4) optical pose as it is known now (TFError: unknown).
    Where one moved by more than `translation` (metres) or `rotation` (radians), every frame gets its pose of now, and
    those whose pose nobody knows any more are dropped. Returns how many (moved, dropped); (0, 0) where nothing jumped.
    """

    def reposed(name: str, view: SourceView) -> SourceView | None:
        try:
            return replace(view, camera=view.camera.moved(pose_now(name, view.stamp)))
        except TFError:
            return None

    def jumped(name: str, view: SourceView) -> bool:
        now, then = reposed(name, view), view.camera
        return now is not None and bool(
            np.linalg.norm(now.camera.center - then.center) > translation
            or rotation_angle(now.camera.c2w, then.c2w) > rotation
        )

    if not any(jumped(name, view) for name, view in context.named_frames()[-LOOKED_AT:]):
        return 0, 0
    before = len(context)
    moved = context.replace(reposed)
    return moved, before - moved
