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
_POLL = 0.02  # seconds between two looks while waiting


class Buffer:
    """Transforms of the last `cache_time`, read and written from any thread.

    With `node` its clock counts: when it jumps back, or changes between system and simulated time, what moves is
    forgotten. Lookups raise the TransformExceptions; `time` 0 (Time()) is the newest common one.
    """

    def __init__(self, cache_time: Duration | None = None, node: Node | None = None) -> None:
        self._frames = Frames((cache_time or DEFAULT_CACHE).nanoseconds)
        self._lock = threading.RLock()
        self._clock = node.get_clock() if node is not None else Clock()
        threshold = JumpThreshold(min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=True)
        self._jump_handle = self._clock.create_jump_callback(threshold, post_callback=self._on_jump)

    def _on_jump(self, _: TimeJump) -> None:
        self.clear()

    def set_transform(self, transform: TransformStamped, authority: str) -> None:
        """Take in a transform that holds at its stamp; an unusable one (NaN, norm, names, age) is left out."""
        with self._lock:
            self._frames.insert(transform, static=False)

    def set_transform_static(self, transform: TransformStamped, authority: str) -> None:
        """Take in a transform that always holds."""
        with self._lock:
            self._frames.insert(transform, static=True)

    def clear(self) -> None:
        """Forget what moves; static transforms stay."""
        with self._lock:
            self._frames.clear()

    def lookup_transform(
        self, target_frame: str, source_frame: str, time: Time, timeout: Duration = NO_WAIT
    ) -> TransformStamped:
        """The motion that takes points of `source_frame` into `target_frame` at `time`; waits up to `timeout`."""
        self.can_transform(target_frame, source_frame, time, timeout)
        with self._lock:
            motion, stamp = self._frames.lookup(target_frame, source_frame, time.nanoseconds)
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
        self._wait(lambda: self._full(target_frame, target_time, source_frame, source_time, fixed_frame), timeout)
        motion, stamp = self._full(target_frame, target_time, source_frame, source_time, fixed_frame)
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
        error = self._wait(lambda: self._lookup(target_frame, source_frame, time), timeout)
        return (not error, error) if return_debug_tuple else not error

    def _lookup(self, target_frame: str, source_frame: str, time: Time) -> tuple[Motion, int]:
        with self._lock:
            return self._frames.lookup(target_frame, source_frame, time.nanoseconds)

    def _full(
        self, target_frame: str, target_time: Time, source_frame: str, source_time: Time, fixed_frame: str
    ) -> tuple[Motion, int]:
        with self._lock:
            first, _ = self._frames.lookup(fixed_frame, source_frame, source_time.nanoseconds)
            second, stamp = self._frames.lookup(target_frame, fixed_frame, target_time.nanoseconds)
        return second.after(first), stamp

    def _wait(self, attempt: Callable[[], object], timeout: Duration) -> str:
        """Try until it works or the real time `timeout` is over; the last error, empty on success."""
        end = wall.monotonic() + timeout.nanoseconds / 1e9
        while True:
            try:
                attempt()
                return ""
            except TransformException as error:
                if wall.monotonic() >= end:
                    return str(error)
            wall.sleep(_POLL)


def _message(motion: Motion, stamp: int, target_frame: str, source_frame: str) -> TransformStamped:
    message = TransformStamped(child_frame_id=source_frame)
    message.header.frame_id = target_frame
    message.header.stamp = Time(nanoseconds=stamp).to_msg()
    t, r = message.transform.translation, message.transform.rotation
    t.x, t.y, t.z = np.asarray(motion.translation).tolist()
    r.w, r.x, r.y, r.z = np.asarray(motion.rotation).tolist()
    return message
