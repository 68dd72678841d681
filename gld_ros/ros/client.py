# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A client of `gld_node` whose calls block: `GLDClient().synthesize(pose)` returns image, depth and cloud as arrays."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.action import ActionClient
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node

from gld_ros.action import SynthesizeTrajectory
from gld_ros.errors import GLDError
from gld_ros.ros.client_messages import Answer, Pose, answer_of, error_of, fill_request
from gld_ros.srv import LoadMap, SaveMap, SynthesizeViews

Alive = Callable[[], None]  # raises when there is no sense in waiting on, e.g. a process has died
PATIENCE = 120.0  # seconds that a call waits by default
REMATCH = 10.0  # seconds after which a client that does not see the action is made anew
#: What the client calls below the node's name, for the SROS2 policy.
SERVICES = {
    "change_state": ChangeState,
    "get_state": GetState,
    "synthesize": SynthesizeViews,
    "save_map": SaveMap,
    "load_map": LoadMap,
}
ACTION = "synthesize_trajectory"


class ClientError(GLDError):
    """The node did not do what it was asked to; the message says what."""


class GLDClient:
    """Calls block until there is an answer, or raise ClientError after `timeout` seconds. A thread of its own spins the
    node. `close` ends both, and so does the end of a `with` block.

    target: name of gld_node with its namespace. node: whose name and context to use, by default a new one (rclpy is
    initialized where it is not). still_alive: called while waiting; raises to end the wait.
    """

    def __init__(self, target: str = "/gld_node", node: Node | None = None, still_alive: Alive = lambda: None) -> None:
        if node is None and not rclpy.ok():
            rclpy.init()
        self.node = node = node or rclpy.create_node("gld_client")
        self._target, self._still_alive = target, still_alive
        self._clients = {name: node.create_client(kind, f"{target}/{name}") for name, kind in SERVICES.items()}
        self._paths = [ActionClient(node, SynthesizeTrajectory, f"{target}/{ACTION}")]  # the last one is used
        self.counts: dict[str, dict[str, int]] = {}  # of the node's topics, as its diagnostics say
        self.values: dict[str, str] = {}  # of the node's own status in its diagnostics
        self._diagnostics = 0  # messages received
        node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(node)
        self._thread = threading.Thread(target=self._spin, name="client", daemon=True)
        self._thread.start()

    def __enter__(self) -> GLDClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._executor.shutdown(timeout_sec=2)
        self._thread.join(timeout=5)
        for path in self._paths:
            path.destroy()  # rclpy leaves it, and the node in the graph
        self.node.destroy_node()

    # ---- the node's state

    def wait_until_active(self, timeout: float = PATIENCE) -> None:
        """Return once the node is in the lifecycle state `active`."""
        end = time.monotonic() + timeout
        while True:
            answer, _ = self._call("get_state", GetState.Request(), max(end - time.monotonic(), 0.1))
            if (state := answer.current_state.label) == "active":
                return
            if time.monotonic() > end:
                raise ClientError(f"{self._target} is {state}, not active, after {timeout:.0f} s")
            time.sleep(0.05)

    def transition(self, name: str, timeout: float = PATIENCE) -> None:
        """Lifecycle transition `configure`, `activate`, ... Raises ClientError where the node refuses or fails."""
        number = getattr(Transition, f"TRANSITION_{name.upper()}")
        request = ChangeState.Request(transition=Transition(label=name, id=number))
        answer, _ = self._call("change_state", request, timeout)
        if not answer.success:
            raise ClientError(f"{self._target} failed to {name}; its log says why")

    def wait_for_diagnostics(self, timeout: float = PATIENCE) -> None:
        """Until the next diagnostics message has been received and `counts` is new."""
        before = self._diagnostics
        self.wait(lambda: self._diagnostics > before, timeout, f"diagnostics of {self._target}")

    def wait(self, condition: Callable[[], bool], timeout: float, what: str) -> None:
        """Return once `condition()` holds. Raises ClientError naming `what` after `timeout` seconds."""
        end = time.monotonic() + timeout
        while not condition():
            self._still_alive()
            if time.monotonic() > end:
                raise ClientError(f"{what}: nothing within {timeout:.0f} s")
            time.sleep(0.02)

    # ---- requests

    def synthesize(
        self, poses: Pose | Sequence[Pose], *, frame: str = "map", timeout: float = PATIENCE, **fields: Any
    ) -> Answer:
        """Views at `poses`: (4, 4) optical c2w in `frame`, PoseStamped, or Cameras of one size and K, in `frame`, too.

        fields: of srv/SynthesizeViews, such as seed, samples, depth_coverage, axes; time_budget in seconds. Raises
        the GLDError that the node answered with, such as NoContext.
        """
        request = fill_request(SynthesizeViews.Request(), poses, frame, fields)
        return answer_of(*self._call("synthesize", request, timeout))

    def synthesize_trajectory(
        self,
        poses: Sequence[Pose],
        *,
        frame: str = "map",
        on_feedback: Callable[[SynthesizeTrajectory.Feedback], bool | None] = lambda feedback: None,
        timeout: float = PATIENCE,
        **fields: Any,
    ) -> Answer:
        """Views along `poses`, as `synthesize` makes them. on_feedback(feedback): called between steps; False cancels.

        What was finished before an error comes back with it (`Answer.error`). Raises the error where that is nothing.
        """
        goal = fill_request(SynthesizeTrajectory.Goal(), poses, frame, fields)
        path = self._action(timeout)
        feedback: list[SynthesizeTrajectory.Feedback] = []
        cancelled = threading.Event()

        def heard(message: Any) -> None:
            feedback.append(message.feedback)
            if on_feedback(message.feedback) is False:
                cancelled.set()

        began = time.perf_counter()
        handle = self._result(path.send_goal_async(goal, heard), timeout, "acceptance of the goal")
        if not handle.accepted:
            raise ClientError("the goal of ~/synthesize_trajectory was not accepted")
        future = handle.get_result_async()
        self.wait(lambda: future.done() or cancelled.is_set(), timeout, "result of the action")
        if not future.done():
            handle.cancel_goal_async()
        result = self._result(future, timeout, "result of the action").result
        error = error_of(result)
        if error is not None and not result.views:
            raise error
        return answer_of(result, time.perf_counter() - began, error, feedback)

    def save_map(self, path: str, timeout: float = PATIENCE) -> list[str]:
        """Write the map to `path` below the node's `map_folder`; returns the files. Raises GLDError."""
        answer, _ = self._call("save_map", SaveMap.Request(path=path), timeout)
        return list(answer.files)

    def load_map(self, path: str, timeout: float = PATIENCE) -> tuple[int, int]:
        """Replace the map by one that was saved; returns its voxels, observed and generated. Raises GLDError."""
        answer, _ = self._call("load_map", LoadMap.Request(path=path), timeout)
        return answer.observed, answer.generated

    # ---- inside

    def _call(self, name: str, request: Any, timeout: float) -> tuple[Any, float]:
        """The answer of one of `SERVICES`, and the seconds until it came in. Raises the error that it names."""
        client, arrived = self._clients[name], []
        self.wait(client.service_is_ready, timeout, f"service {client.srv_name}")
        began = time.perf_counter()
        future = client.call_async(request)
        future.add_done_callback(lambda _: arrived.append(time.perf_counter() - began))
        self.wait(lambda: bool(arrived), timeout, f"answer of {client.srv_name}")
        answer = future.result()
        if error := error_of(answer):
            raise error
        return answer, arrived[0]

    def _action(self, timeout: float) -> ActionClient:
        """A client that sees the whole action: on a busy machine DDS was seen to leave one of its eight endpoints
        unmatched for good, and a new client is matched anew."""
        made = time.monotonic()

        def ready() -> bool:
            nonlocal made
            if time.monotonic() > made + REMATCH:
                self._paths.append(ActionClient(self.node, SynthesizeTrajectory, f"{self._target}/{ACTION}"))
                made = time.monotonic()
            return self._paths[-1].server_is_ready()

        self.wait(ready, timeout, f"action {self._target}/{ACTION}")
        return self._paths[-1]

    def _result(self, future: Any, timeout: float, what: str) -> Any:
        self.wait(future.done, timeout, what)
        return future.result()

    def _spin(self) -> None:
        with suppress(ExternalShutdownException):
            self._executor.spin()

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
