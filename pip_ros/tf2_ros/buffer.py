# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Buffer: what is known of the frames, and lookups in it."""

import threading
import time as wall
from collections.abc import Callable

import numpy as np
from geometry_msgs.msg import TransformStamped
from rclpy.clock import Clock, JumpThreshold, TimeJump
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.time import Time

from tf2_ros.errors import TransformException
from tf2_ros.frames import Frames, Motion

DEFAULT_CACHE = Duration(seconds=10)
NO_WAIT = Duration()


class Buffer:
    """Transforms of the last `cache_time`, read and written from any thread.

    With `node` its clock counts: when it jumps back, or changes between system and simulated time, what moves is
    forgotten. Lookups raise the TransformExceptions; `time` 0 (Time()) is the newest common one.
    """

    def __init__(self, cache_time: Duration | None = None, node: Node | None = None) -> None:
        self._frames = Frames((cache_time or DEFAULT_CACHE).nanoseconds)
        self._changed = threading.Condition()  # also the lock of the frames
        self._clock = node.get_clock() if node is not None else Clock()
        threshold = JumpThreshold(min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=True)
        self._jump_handle = self._clock.create_jump_callback(threshold, post_callback=self._on_jump)

    def _on_jump(self, _: TimeJump) -> None:
        self.clear()

    def set_transform(self, transform: TransformStamped, authority: str) -> None:
        """Take in a transform that holds at its stamp; an unusable one (NaN, norm, names, age) is left out."""
        with self._changed:
            self._frames.insert(transform, static=False)
            self._changed.notify_all()

    def set_transform_static(self, transform: TransformStamped, authority: str) -> None:
        """Take in a transform that always holds."""
        with self._changed:
            self._frames.insert(transform, static=True)
            self._changed.notify_all()

    def clear(self) -> None:
        """Forget what moves; static transforms stay."""
        with self._changed:
            self._frames.clear()

    def lookup_transform(
        self, target_frame: str, source_frame: str, time: Time, timeout: Duration = NO_WAIT
    ) -> TransformStamped:
        """The motion that takes points of `source_frame` into `target_frame` at `time`; waits up to `timeout`."""
        motion, stamp = self._wait(lambda: self._lookup(target_frame, source_frame, time), timeout)
        return _message(motion, stamp, target_frame, source_frame)

    def lookup_transform_full(
        self,
        target_frame: str,
        target_time: Time,
        source_frame: str,
        source_time: Time,
        fixed_frame: str,
        timeout: Duration = NO_WAIT,
    ) -> TransformStamped:
        """From `source_frame` at `source_time` into `target_frame` at `target_time`; `fixed_frame` rests between."""
        motion, stamp = self._wait(
            lambda: self._full(target_frame, target_time, source_frame, source_time, fixed_frame), timeout
        )
        return _message(motion, stamp, target_frame, source_frame)

    def can_transform(
        self,
        target_frame: str,
        source_frame: str,
        time: Time,
        timeout: Duration = NO_WAIT,
        return_debug_tuple: bool = False,
    ) -> bool | tuple[bool, str]:
        """Whether lookup_transform would answer, now or within `timeout`; with the reason if asked."""
        try:
            self._wait(lambda: self._lookup(target_frame, source_frame, time), timeout)
        except TransformException as error:
            return (False, str(error)) if return_debug_tuple else False
        return (True, "") if return_debug_tuple else True

    def _lookup(self, target_frame: str, source_frame: str, time: Time) -> tuple[Motion, int]:
        return self._frames.lookup(target_frame, source_frame, time.nanoseconds)

    def _full(
        self, target_frame: str, target_time: Time, source_frame: str, source_time: Time, fixed_frame: str
    ) -> tuple[Motion, int]:
        first, _ = self._frames.lookup(fixed_frame, source_frame, source_time.nanoseconds)
        second, stamp = self._frames.lookup(target_frame, fixed_frame, target_time.nanoseconds)
        return second.after(first), stamp

    def _wait(self, attempt: Callable[[], tuple[Motion, int]], timeout: Duration) -> tuple[Motion, int]:
        """Try at once and after every change until it works; its last error once the real time `timeout` is over."""
        end = wall.monotonic() + timeout.nanoseconds / 1e9
        with self._changed:
            while True:
                try:
                    return attempt()
                except TransformException:
                    left = end - wall.monotonic()
                    if left <= 0:
                        raise
                self._changed.wait(left)


def _message(motion: Motion, stamp: int, target_frame: str, source_frame: str) -> TransformStamped:
    message = TransformStamped(child_frame_id=source_frame)
    message.header.frame_id = target_frame
    message.header.stamp = Time(nanoseconds=stamp).to_msg()
    t, r = message.transform.translation, message.transform.rotation
    t.x, t.y, t.z = np.asarray(motion.translation).tolist()
    r.w, r.x, r.y, r.z = np.asarray(motion.rotation).tolist()
    return message
