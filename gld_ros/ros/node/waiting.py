# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Waiting for a worker's job in a coroutine of the executor."""

from __future__ import annotations

from rclpy.node import Node
from rclpy.task import Future

from gld_ros.ros.node.worker import Job


async def done(node: Node, job: Job) -> None:
    """Wait for a job without blocking the executor of `node`."""
    executor = node.executor
    assert executor is not None  # it runs this very coroutine
    future: Future = Future()

    def wake(_: object) -> None:
        future.set_result(None)
        executor.wake()  # rclpy polls an awaited future only when something wakes the executor

    job.future.add_done_callback(wake)
    await future
