# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A client of `gld_node`: lifecycle, requests by service and action, and what its diagnostics say."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.action import ActionClient
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from std_msgs.msg import Header

from gld_ros.action import SynthesizeTrajectory
from gld_ros.errors import GLDError
from gld_ros.geometry.cameras import Camera
from gld_ros.ros.conversions import info_from_camera, matrix_to_pose
from gld_ros.srv import SynthesizeViews

Alive = Callable[[], None]  # raises when there is no sense in waiting on, e.g. a process has died


class ClientError(GLDError):
    """The node did not do what it was asked to; the message says what."""


class Client:
    """Calls block with a time limit; a thread of its own spins the node. `close` ends it.

    still_alive: called while waiting; raises to end the wait.
    """

    def __init__(self, node: Node, target: str = "/gld_node", still_alive: Alive = lambda: None) -> None:
        self.node = node
        self._target, self._still_alive = target, still_alive
        self._change = node.create_client(ChangeState, f"{target}/change_state")
        self._views = node.create_client(SynthesizeViews, f"{target}/synthesize")
        self._path = ActionClient(node, SynthesizeTrajectory, f"{target}/synthesize_trajectory")
        self.counts: dict[str, dict[str, int]] = {}  # of the node's topics, as its diagnostics say
        self.values: dict[str, str] = {}  # of the node's own status in its diagnostics
        self._diagnostics = 0  # messages received
        node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(node)
        self._thread = threading.Thread(target=self._spin, name="client", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._executor.shutdown(timeout_sec=2)
        self._thread.join(timeout=5)
        self._path.destroy()  # rclpy leaves it, and the node in the graph
        self.node.destroy_node()

    def wait(self, condition: Callable[[], bool], timeout: float, what: str) -> None:
        """Return once `condition()` holds. Raises ClientError naming `what` after `timeout` seconds."""
        end = time.monotonic() + timeout
        while not condition():
            self._still_alive()
            if time.monotonic() > end:
                raise ClientError(f"{what}: nothing within {timeout:.0f} s")
            time.sleep(0.02)

    def wait_for_diagnostics(self, timeout: float) -> None:
        """Until the next diagnostics message has been received and `counts` is new."""
        before = self._diagnostics
        self.wait(lambda: self._diagnostics > before, timeout, f"diagnostics of {self._target}")

    def transition(self, name: str, timeout: float) -> None:
        """Lifecycle transition `configure`, `activate`, ... Raises ClientError where the node refuses or fails."""
        self.wait(self._change.service_is_ready, timeout, f"service {self._target}/change_state")
        request = ChangeState.Request(
            transition=Transition(label=name, id=getattr(Transition, f"TRANSITION_{name.upper()}"))
        )
        if not self._result(self._change.call_async(request), timeout, f"transition {name}").success:
            raise ClientError(f"{self._target} failed to {name}; its log says why")

    def synthesize(self, cameras: list[Camera], seed: int, timeout: float) -> SynthesizeViews.Response:
        """Ask for views of one size and K at these cameras' poses in the map frame."""
        return self.timed_synthesize(cameras, seed, timeout)[0]

    def timed_synthesize(
        self, cameras: list[Camera], seed: int, timeout: float
    ) -> tuple[SynthesizeViews.Response, float]:
        """As `synthesize`, with the seconds from the call to the arrival of the answer."""
        request = SynthesizeViews.Request(seed=seed, axes=SynthesizeViews.Request.OPTICAL)
        _fill(request, cameras)
        self.wait(self._views.service_is_ready, timeout, f"service {self._target}/synthesize")
        arrived: list[float] = []
        began = time.perf_counter()
        future = self._views.call_async(request)
        future.add_done_callback(lambda _: arrived.append(time.perf_counter()))
        answer = self._result(future, timeout, "answer of ~/synthesize")
        self.wait(lambda: bool(arrived), timeout, "arrival of the answer")
        return answer, arrived[0] - began

    def synthesize_path(
        self, cameras: list[Camera], seed: int, timeout: float
    ) -> tuple[SynthesizeTrajectory.Result, int]:
        """Ask for views along a path; returns the result and the number of feedback messages."""
        goal = SynthesizeTrajectory.Goal(seed=seed, axes=SynthesizeTrajectory.Goal.OPTICAL)
        _fill(goal, cameras)
        self.wait(self._path.server_is_ready, timeout, f"action {self._target}/synthesize_trajectory")
        feedback: list[Any] = []
        handle = self._result(self._path.send_goal_async(goal, feedback.append), timeout, "acceptance of the goal")
        if not handle.accepted:
            raise ClientError("the goal of ~/synthesize_trajectory was not accepted")
        return self._result(handle.get_result_async(), timeout, "result of the action").result, len(feedback)

    def _result(self, future: Any, timeout: float, what: str) -> Any:
        self.wait(future.done, timeout, what)
        return future.result()

    def _spin(self) -> None:
        try:
            self._executor.spin()
        except ExternalShutdownException:
            pass

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        prefix = f"{self._target}: "
        counts = {}
        for status in message.status:
            if status.name == f"{prefix}node":
                self.values = {item.key: item.value for item in status.values}
            if status.name.startswith(f"{prefix}/"):
                values = {item.key: int(item.value) for item in status.values}
                counts[status.name.removeprefix(prefix)] = values
        self.counts = counts
        self._diagnostics += 1


def _fill(request: Any, cameras: list[Camera]) -> None:
    header = Header(frame_id="map")
    request.poses = [PoseStamped(header=header, pose=matrix_to_pose(camera.c2w)) for camera in cameras]
    request.camera_info = info_from_camera(cameras[0], header)
