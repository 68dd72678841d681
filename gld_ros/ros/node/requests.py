# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The three ways to ask `gld_node` for views: service, action, topic. Callbacks only enqueue and await the worker."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable
from functools import partial
from typing import Any

from geometry_msgs.msg import PoseStamped
from rclpy.action import ActionServer, CancelResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup, ReentrantCallbackGroup
from rclpy.qos import QoSProfile
from std_msgs.msg import Header

from gld_ros.action import SynthesizeTrajectory
from gld_ros.errors import Cancelled, GLDError, ModelError, NotActive
from gld_ros.ros.conversions import image_to_msg
from gld_ros.ros.node.counters import Latencies
from gld_ros.ros.node.outputs import Outputs
from gld_ros.ros.node.shared import Shared
from gld_ros.ros.node.synthesizer import Synthesizer, ViewRequest, parse_request, request_from_pose
from gld_ros.ros.node.topics import EXECUTED, SUBSCRIBED
from gld_ros.ros.node.worker import Job
from gld_ros.srv import SynthesizeViews
from gld_ros.views import Progress, View

SWEEP_PERIOD = 0.05  # seconds
#: DDS drops what the node has not taken yet beyond this depth, and the client would wait for ever; the default is 10.
SERVICE_QOS = QoSProfile(depth=100)
RESULT_KEPT = 10  # seconds that a goal's result, with all its images, waits for a client; rclpy's default is 900


class RequestServer:
    """Service ~/synthesize, action ~/synthesize_trajectory and topic ~/request of a node."""

    def __init__(self, shared: Shared, outputs: Outputs) -> None:
        node = shared.node
        self.latencies = Latencies()  # of the requests that were answered with views
        self.scale_residual = ""  # of the newest view
        self.answers: dict[str, int] = {"NONE": 0}  # by the name of their error code
        self._shared, self._outputs, self._log, self.worker = shared, outputs, shared.log, shared.worker
        self._goals: dict[bytes, Job] = {}
        group = ReentrantCallbackGroup()
        shared.serve("~/synthesize", self._on_service, qos_profile=SERVICE_QOS, callback_group=group)
        self._action = ActionServer(
            node,
            EXECUTED["~/synthesize_trajectory"].type,
            "~/synthesize_trajectory",
            self._on_goal,
            goal_service_qos_profile=SERVICE_QOS,
            cancel_callback=self._on_cancel,
            callback_group=MutuallyExclusiveCallbackGroup(),
            result_timeout=RESULT_KEPT,
        )
        self._topic = node.resolve_topic_name("~/request")
        asked = SUBSCRIBED["~/request"]
        shared.subscribe(asked.type, self._topic, self._on_pose, asked.qos)
        self._sweeper = shared.timer(SWEEP_PERIOD, self._sweep, autostart=False)

    def _sweep(self) -> None:
        """While requests wait behind the one in work, look for those whose time is up."""
        self.worker.sweep()
        if not self.worker.waiting:
            self._sweeper.cancel()

    def destroy(self) -> None:
        """To be called before the node is destroyed: rclpy leaves the action to whoever made it."""
        self._action.destroy()

    async def _on_service(
        self, request: SynthesizeViews.Request, response: SynthesizeViews.Response
    ) -> SynthesizeViews.Response:
        try:
            job = self._submit(request, response)
        except GLDError as error:
            return self._refuse(response, error)
        await self._ended(job)
        if response.error_code != SynthesizeViews.Response.NONE:
            response.views = []
            response.points = type(response.points)()
        return response

    async def _on_goal(self, goal: ServerGoalHandle) -> SynthesizeTrajectory.Result:
        result = SynthesizeTrajectory.Result()
        feedback = SynthesizeTrajectory.Feedback()

        def on_progress(index: int, progress: Progress) -> None:
            feedback.view, feedback.step, feedback.steps = index, progress.step, progress.steps
            feedback.fraction = progress.fraction
            if progress.preview is not None:
                feedback.preview = image_to_msg(progress.preview, "rgb8", Header())
            goal.publish_feedback(feedback)

        key = bytes(goal.goal_id.uuid)
        try:
            self._goals[key] = job = self._submit(goal.request, result, on_progress)
        except GLDError as error:
            goal.abort()
            return self._refuse(result, error)
        if goal.is_cancel_requested:
            job.cancel()
        await self._ended(job)
        del self._goals[key]
        if result.error_code == SynthesizeTrajectory.Result.NONE:
            goal.succeed()
        elif goal.is_cancel_requested:
            goal.canceled()
        else:
            goal.abort()
        return result

    def _on_cancel(self, goal: ServerGoalHandle) -> CancelResponse:
        job = self._goals.get(bytes(goal.goal_id.uuid))
        if job is not None:
            job.cancel()
            self.worker.sweep()
        return CancelResponse.ACCEPT

    def _on_pose(self, pose: PoseStamped) -> None:
        self._shared.counters.add(self._topic, "received")
        request = request_from_pose(pose, self._shared.parameters)
        try:
            job = self._submit(request, SynthesizeViews.Response())
        except GLDError as error:
            self._shared.counters.add(self._topic, "dropped_refused")
            self._refuse(SynthesizeViews.Response(), error)
        else:
            job.future.add_done_callback(lambda future: None if future.exception() else future.result()())

    def _submit(self, request: Any, answer: Any, on_progress: Any = None) -> Job:
        """Queue a request whose outcome fills `answer`, a service response or action result. Raises GLDError."""
        session, p = self._shared.session, self._shared.parameters
        if session is None:
            raise NotActive("the node is not active; configure and activate it first")
        parsed = parse_request(request, p.map_frame, p.max_views)
        on_progress = on_progress or (lambda index, progress: None)
        job = self.worker.submit(partial(self._work, session.synthesizer, parsed, answer, on_progress), parsed.budget)
        job.future.add_done_callback(lambda future: self._settle(future, answer))
        if self._sweeper.is_canceled():
            self._sweeper.reset()
        return job

    async def _ended(self, job: Job) -> None:
        """Wait for a job; its cloud and frusta are published as soon as the caller has answered."""
        await self._shared.done(job)
        executor = self._shared.node.executor
        if executor is not None and job.future.exception() is None:
            executor.create_task(job.future.result())

    def _work(
        self, synthesizer: Synthesizer, request: ViewRequest, answer: Any, on_progress: Any, job: Job
    ) -> Callable[[], None]:
        """In the worker's thread: make and publish the views, fill `answer`. Returns what is to be done after that."""

        def on_view(view: View, stamp: int) -> None:
            answer.views.append(self._outputs.view(view, stamp, request.coverage))

        result = synthesizer.run(request, job, on_view, on_progress)
        stamp = max(result.stamps, default=0)
        if result.views:
            self._outputs.answered(stamp)
            answer.points = self._outputs.cloud(result.views, stamp)
        if result.error is not None:
            self._refuse(answer, result.error)
        else:
            self.answers["NONE"] += 1
            job.at("messages")
            self.latencies.add(job.elapsed, job.seconds)
            self.scale_residual = f"{result.views[-1].scale.residual:.3f}"
        answer.latency = job.elapsed
        return partial(self._outputs.finished, result.views, answer.points, stamp)

    def _settle(self, future: concurrent.futures.Future[None], answer: Any) -> None:
        """Answer a job that never ran, or whose outcome could not be put into messages."""
        error = future.exception()
        if error is not None:
            self._refuse(
                answer, error if isinstance(error, GLDError) else ModelError(f"{type(error).__name__}: {error}")
            )

    def _refuse(self, answer: Any, error: GLDError) -> Any:
        """Fill `answer` with a named error and say so in the log."""
        answer.error_code = getattr(SynthesizeViews.Response, error.code)
        answer.error_message = str(error)
        self.answers[error.code] = self.answers.get(error.code, 0) + 1
        message = f"request answered {error.code}: {error}"
        if isinstance(error, Cancelled):
            self._log.info(message)
        else:  # rclpy refuses two severities from one line
            self._log.warning(message)
        return answer
