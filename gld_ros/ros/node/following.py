# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Continuous mode of `gld_node`: views at offsets from the robot, or along its path, made while no request waits."""

from __future__ import annotations

import time
from functools import partial

import nav_msgs.msg
import numpy as np
from std_srvs.srv import SetBool

from gld_ros.errors import Cancelled, GLDError, TFError
from gld_ros.geometry.se3 import BODY_FROM_OPTICAL, invert, rotation_angle
from gld_ros.ros.node.map_outputs import MapOutputs
from gld_ros.ros.node.outputs import Outputs
from gld_ros.ros.node.poses import TFPoses
from gld_ros.ros.node.shared import Shared
from gld_ros.ros.node.synthesizer import Synthesizer, ViewRequest
from gld_ros.ros.node.topics import IMAGES, SUBSCRIBED
from gld_ros.ros.node.worker import Job
from gld_ros.scene.viewpoints import along_path, at_offsets
from gld_ros.views import Progress, View

WORLD = 8  # views made before that further ones may be given
MAX_PATH = 10_000  # poses of a path that are looked at


class Following:
    """Service ~/follow pauses and resumes; results go out on the topics of answers, with the seed `follow_seed`.

    `follow_rate` times a second the viewpoints are looked at, and those that moved since their last view are made. It
    is counted under the service's name how many views were `published`, and why nothing was done: `skipped_inactive`,
    `skipped_working` (the worker makes such views already), `skipped_request` (it answers somebody, or was stopped for
    that), `skipped_budget`, `skipped_unheard` (nobody subscribes), `skipped_no_pose` (of the robot),
    `skipped_no_viewpoint` (no path, or one that ends before), `skipped_not_moved`, `failed_<error code>`.
    """

    def __init__(self, shared: Shared, outputs: Outputs, maps: MapOutputs) -> None:
        node, counters, p = shared.node, shared.counters, shared.parameters
        self._shared, self._outputs, self._maps = shared, outputs, maps
        self._counters, self._warn, self._worker = counters, shared.warn, shared.worker
        self._job: Job | None = None
        self._world: list[View] = []  # the newest views: further ones show the same world
        self._basis = (0, 0)  # epoch of the key frames, and how often the map was cleared, when those were made
        self._made: list[np.ndarray] = []  # poses (4, 4) of views that still are what the viewpoints show
        self._emptied = (0, 0)  # how often time or frame jumped, and the map was cleared, until those were made
        self._last_work = (0.0, 0.0)  # its end, by time.monotonic, and its duration in seconds
        self._path = ("", np.empty((0, 3)))  # frame, positions
        of_views, of_map = ("views", *IMAGES, "points"), ("map/generated", "map/occupancy")
        self._topics = {name: node.resolve_topic_name(f"~/{name}") for name in (*of_views, *of_map)}
        self._name = node.resolve_service_name("~/follow")
        shared.serve("~/follow", self._on_follow)
        if topic := p.follow_path_topic:
            self._path_topic = node.resolve_topic_name(topic)
            shared.subscribe(SUBSCRIBED["plan"].type, self._path_topic, self._on_path, SUBSCRIBED["plan"].qos)
        self._timer = shared.timer(1 / p.follow_rate, self._tick, autostart=p.follow)
        counters.add(self._name, "published", 0)

    def set_rate(self, rate: float) -> None:
        """Look `rate` times a second from now on."""
        period = int(1e9 / rate)
        if self._timer.timer_period_ns != period:
            self._timer.timer_period_ns = period

    # ---- in the executor's thread

    def _on_follow(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        if request.data and self._timer.is_canceled():
            self._timer.reset()
        elif not request.data:
            self._timer.cancel()
            if self._job is not None:
                self._job.cancel("continuous mode is paused")
        response.success, response.message = True, "resumed" if request.data else "paused"
        return response

    def _on_path(self, path: nav_msgs.msg.Path) -> None:
        self._counters.add(self._path_topic, "received")
        positions = [stamped.pose.position for stamped in path.poses[:MAX_PATH]]
        xyz = np.array([(q.x, q.y, q.z) for q in positions]).reshape(-1, 3)
        self._path = path.header.frame_id, xyz[np.isfinite(xyz).all(axis=1)]

    def _tick(self) -> None:
        emptied = self._shared.key_frames.jumps, self._maps.cleared
        if emptied != self._emptied:  # the map that held the views
            self._made, self._emptied = [], emptied
        session = self._shared.session
        reason = self._reason_to_wait()
        if session is None or reason:
            self._count(reason)
            return
        try:
            viewpoints = self._viewpoints(session.tf)
        except TFError as error:
            self._warn("follow_pose", f"continuous mode: {error}")
            self._count("skipped_no_pose")
            return
        except GLDError as error:
            self._warn("follow_viewpoints", f"continuous mode: {error}")
            viewpoints = []
        self._made = [made for made in self._made if self._near(made, viewpoints)]
        new = [viewpoint for viewpoint in viewpoints if not self._near(viewpoint, self._made)]
        if not new:
            self._count("skipped_not_moved" if viewpoints else "skipped_no_viewpoint")
            return
        try:
            self._job = self._worker.submit(partial(self._work, session.synthesizer, new))
            self._shared.warn_of(self._job, "follow", "continuous mode")
        except GLDError:  # requests wait, or the worker is broken
            self._count("skipped_request")

    def _reason_to_wait(self) -> str:
        """Why no views should be made now, whatever the viewpoints are; empty for none."""
        if self._shared.session is None:
            self._made = []
            return "skipped_inactive"
        if self._job is not None and not self._job.future.done():
            return "skipped_working"
        if self._worker.busy or self._worker.waiting:
            return "skipped_request"
        ended, took = self._last_work
        if (time.monotonic() - ended + took) * self._shared.parameters.follow_budget <= took:
            return "skipped_budget"
        return "" if self._heard() else "skipped_unheard"

    def _heard(self) -> bool:
        """True if somebody takes the views, or the map that is made of them."""
        with_map = self._shared.parameters.map_enabled
        topics = [topic for name, topic in self._topics.items() if with_map or not name.startswith("map/")]
        return any(self._shared.node.count_subscribers(topic) for topic in topics)

    def _viewpoints(self, tf: TFPoses) -> list[np.ndarray]:
        """c2w (4, 4) in the map frame. Raises TFError for a robot or a path without a pose, InvalidRequest."""
        p = self._shared.parameters
        if p.follow_frame:
            robot = tf.lookup(p.follow_frame, 0)
        else:
            frames = self._shared.key_frames.frames()
            if not frames:
                raise TFError("no key frame so far, whose camera could be followed (parameter follow_frame is empty)")
            robot = frames[-1].camera.c2w @ invert(BODY_FROM_OPTICAL)
        if not p.follow_path_topic:
            return at_offsets(robot, p.follow_offsets)
        frame, path = self._path
        in_map = tf.lookup(frame or p.map_frame, 0)
        path = path @ in_map[:3, :3].T + in_map[:3, 3]
        return along_path(path, robot[:3, 3], p.follow_path_distances, p.request_height)

    def _near(self, pose: np.ndarray, others: list[np.ndarray]) -> bool:
        """True if `pose` (4, 4) is one of `others`, by the rules of key frames."""
        p = self._shared.parameters
        return any(
            np.linalg.norm(pose[:3, 3] - other[:3, 3]) <= p.keyframe_translation
            and rotation_angle(pose, other) <= p.keyframe_rotation
            for other in others
        )

    # ---- in the worker's thread

    def _work(self, synthesizer: Synthesizer, viewpoints: list[np.ndarray], job: Job) -> None:
        p, started = self._shared.parameters, time.monotonic()
        poses = tuple((p.map_frame, 0, pose) for pose in viewpoints)
        request = ViewRequest(poses, None, p.follow_seed, None, coverage=p.depth_coverage)
        basis = self._shared.key_frames.epoch, self._maps.cleared
        if basis != self._basis:
            self._world, self._basis = [], basis

        def on_view(view: View, stamp: int) -> None:
            self._made = [*self._made, view.camera.c2w]
            self._outputs.view(view, stamp, request.coverage)
            self._counters.add(self._name, "published")

        def give_way(index: int, progress: Progress) -> None:
            if self._worker.waiting:
                raise Cancelled("a request waits")

        result = synthesizer.run(request, job, on_view, give_way, self._world)
        self._world = [*self._world, *result.views][-WORLD:]
        ended = time.monotonic()
        self._last_work = ended, ended - started
        if isinstance(result.error, Cancelled):
            self._count("skipped_request")
        elif result.error is not None:
            self._count(f"failed_{result.error.code}")
            self._warn("follow", f"continuous mode: {result.error.code}: {result.error}")
        stamp = max(result.stamps, default=0)
        if result.views and self._outputs.newer(stamp):  # an answer stays until there is something newer
            self._outputs.finished(result.views, self._outputs.cloud(result.views, stamp), stamp)

    # ---- in any thread

    def _count(self, key: str) -> None:
        self._counters.add(self._name, key)
