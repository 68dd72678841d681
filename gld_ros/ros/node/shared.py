# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the parts of `gld_node` share from the node's start to its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode
from rclpy.subscription import Subscription
from rclpy.task import Future
from rclpy.timer import Timer

from gld_ros.errors import Cancelled
from gld_ros.geometry.points import float32_step
from gld_ros.ros.node.counters import CountedPublisher, Throttle, TopicCounters, subscription_events
from gld_ros.ros.node.parameters import Parameters
from gld_ros.ros.node.topics import SERVED
from gld_ros.ros.node.worker import Job, Worker
from gld_ros.scene.key_frames import KeyFrameBuffer

if TYPE_CHECKING:
    from gld_ros.ros.node.session import Session


COARSE = 0.001  # metres, steps of a cloud's coordinates that are worth a warning


class Shared:
    """parameters: the present values, replaced as a whole when one changes. worker: the thread that owns the model.
    session: answers requests while the node is active; None otherwise."""

    def __init__(self, node: LifecycleNode, parameters: Parameters) -> None:
        self.node, self.parameters = node, parameters
        self.log = node.get_logger()
        self.counters = TopicCounters()
        self.warn = Throttle(lambda message: self.log.warning(message))
        self.key_frames = KeyFrameBuffer(parameters.key_frame_rules)
        self.worker = Worker(parameters.max_requests, lambda message: self.log.error(message))
        self.session: Session | None = None
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)

    def now(self) -> int:
        """Nanoseconds by the node's clock."""
        return self.node.get_clock().now().nanoseconds

    def timer(self, period: float, callback: Callable[[], None], autostart: bool = True) -> Timer:
        """A timer of so many seconds that also runs while a simulated clock stands still."""
        return self.node.create_timer(period, callback, clock=self._steady, autostart=autostart)

    def publisher(self, name: str) -> CountedPublisher:
        """The publisher of one of `topics.PUBLISHED`."""
        return CountedPublisher(self.node, self.counters, name)

    def serve(self, name: str, callback: Any, **options: Any) -> None:
        """One of `topics.SERVED`; options: of `Node.create_service`."""
        self.node.create_service(SERVED[name].type, name, callback, **options)

    def subscribe(self, kind: type, topic: str, callback: Callable[[Any], None], qos: Any) -> Subscription:
        """A subscription that counts what DDS drops of the `topic` (resolved), and says what does not fit."""
        events = subscription_events(self.node, topic, self.counters)
        return self.node.create_subscription(kind, topic, callback, qos, event_callbacks=events)

    def warn_of_float32(self, position: np.ndarray) -> None:
        """Say once that clouds about `position` (3,) in the map frame are coarse."""
        step = float32_step(position)
        if step > COARSE:
            where = ", ".join(f"{value:.2f}" for value in position)
            self.log.warning(
                f"the camera is at ({where}) in '{self.parameters.map_frame}': clouds have float32 coordinates, which "
                f"go in steps of {1000 * step:.3g} mm there. Poses and saved maps do not; a map_frame whose origin is "
                "near the robot, such as odom, gives finer clouds",
                once=True,
            )

    def warn_of(self, job: Job, key: str, what: str) -> Job:
        """Log what `job` raises, unless it is cancelled, as a warning of that `key` which begins with `what`."""

        def settle(future: Any) -> None:
            error = future.exception()
            if error is not None and not isinstance(error, Cancelled):
                self.warn(key, f"{what}: {type(error).__name__}: {error}")

        job.future.add_done_callback(settle)
        return job

    async def done(self, job: Job) -> None:
        """Wait for a job in a coroutine of the executor, without blocking it."""
        executor = self.node.executor
        assert executor is not None  # it runs this very coroutine
        future: Future = Future()

        def wake(_: object) -> None:
            future.set_result(None)
            executor.wake()  # rclpy polls an awaited future only when something wakes the executor

        job.future.add_done_callback(wake)
        await future
