# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""From a request message to views: checks, poses, choice of sources, the model, named errors."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped

from gld_ros.calibration import check_level
from gld_ros.errors import Cancelled, GLDError, InvalidRequest, ModelError, NoContext, TFError
from gld_ros.geometry.cameras import Camera
from gld_ros.geometry.distortion import Pinhole
from gld_ros.pipeline.failed_request import FailedRequest
from gld_ros.pipeline.request import MAX_SAMPLES
from gld_ros.pipeline.windows import next_window
from gld_ros.ros.conversions import optical_pose, pose_to_matrix, requested_intrinsics, stamp_to_ns
from gld_ros.ros.node.fallbacks import Fallbacks
from gld_ros.ros.node.parameters import Parameters
from gld_ros.ros.node.poses import TFPoses
from gld_ros.ros.node.shared import Shared
from gld_ros.ros.node.worker import Job, without_history
from gld_ros.scene.key_frames import select_sources, select_together
from gld_ros.srv import SynthesizeViews
from gld_ros.views import Progress, SourceView, View

# Far beyond what the model resolves, and a bound for the memory a request can ask for.
MAX_SIDE = 4096  # pixels
MAX_PIXELS = 2**26  # of all views together; one takes about 50 bytes in images and cloud
TF_SLICE = 0.05  # seconds between two looks whether a request that waits for TF has to end


@dataclass(frozen=True)
class ViewRequest:
    """A request whose numbers are in order. budget: seconds, None without limit. samples: drawn for each view.
    coverage: of the depth bounds, 0 for none."""

    poses: tuple[tuple[str, int, np.ndarray], ...]  # frame, stamp (ns), (4, 4) optical pose in that frame
    intrinsics: Pinhole | None
    seed: int
    budget: float | None
    samples: int = 1
    coverage: float = 0.0


@dataclass(frozen=True)
class Result:
    """The outcome of a request; `stamps` (ns) belong to `views`."""

    views: list[View]
    stamps: list[int]
    error: GLDError | None = None


def parse_request(msg: Any, map_frame: str, max_views: int) -> ViewRequest:
    """Check a SynthesizeViews request or a SynthesizeTrajectory goal. Raises InvalidRequest naming what is wrong."""
    if not msg.poses:
        raise InvalidRequest("poses is empty, at least one is expected")
    if len(msg.poses) > max_views:
        raise InvalidRequest(f"{len(msg.poses)} poses, at most {max_views} are answered (parameter max_views)")
    if msg.axes not in (SynthesizeViews.Request.OPTICAL, SynthesizeViews.Request.BODY):
        raise InvalidRequest(f"axes is {msg.axes}, expected OPTICAL (0) or BODY (1)")
    budget = msg.time_budget.sec + msg.time_budget.nanosec * 1e-9
    if budget < 0:
        raise InvalidRequest(f"time_budget is {budget:g} s, expected 0 (no limit) or more")
    if msg.samples > MAX_SAMPLES:
        raise InvalidRequest(f"samples is {msg.samples}, expected at most {MAX_SAMPLES} (0 is 1)")
    poses = []
    for i, stamped in enumerate(msg.poses):
        matrix = optical_pose(pose_to_matrix(stamped.pose, f"poses[{i}]"), msg.axes == SynthesizeViews.Request.BODY)
        poses.append((stamped.header.frame_id or map_frame, stamp_to_ns(stamped.header.stamp), matrix))
    intrinsics = requested_intrinsics(msg.camera_info, MAX_SIDE)
    samples = msg.samples or 1
    coverage = round(msg.depth_coverage, 3)  # it is a float32
    if coverage:
        check_level(coverage)
    request = ViewRequest(tuple(poses), intrinsics, msg.seed, budget or None, samples, coverage)
    if intrinsics is not None:
        check_pixels(request, intrinsics.width, intrinsics.height)
    return request


def check_pixels(request: ViewRequest, width: int, height: int) -> None:
    """Raise InvalidRequest where views of this size would be too much together."""
    if len(request.poses) * request.samples * width * height > MAX_PIXELS:
        size = f"{width}x{height} pixels" + f" in {request.samples} samples" * (request.samples > 1)
        raise InvalidRequest(
            f"{len(request.poses)} views of {size}, at most {MAX_PIXELS} pixels are made together (set by camera_info)"
        )


def request_from_pose(pose: PoseStamped, p: Parameters) -> SynthesizeViews.Request:
    """The request that a message on ~/request stands for, by the parameters about such."""
    lifted = PoseStamped(header=pose.header, pose=pose.pose)
    lifted.pose.position.z += p.request_height
    axes = SynthesizeViews.Request.BODY if p.request_axes == "body" else SynthesizeViews.Request.OPTICAL
    return SynthesizeViews.Request(poses=[lifted], axes=axes, depth_coverage=p.depth_coverage)


class Synthesizer:
    """Answers requests with a pipeline and the key frames. Runs in the worker's thread only.

    review(view, sources): has the last word on each view. fallbacks: where the model fails.
    """

    def __init__(
        self,
        shared: Shared,
        pipe: Any,
        tf: TFPoses,
        review: Callable[[View, Sequence[SourceView]], View] = lambda view, sources: view,
        fallbacks: Fallbacks | None = None,
    ) -> None:
        self._shared, self._pipe, self._tf, self._review = shared, pipe, tf, review
        self._fallbacks = fallbacks or Fallbacks()
        self._limit = 1  # views generated together in the request at work, as memory and time allow

    def run(
        self,
        request: ViewRequest,
        job: Job,
        on_view: Callable[[View, int], None],
        on_progress: Callable[[int, Progress], None] = lambda view, progress: None,
        earlier: Sequence[View] = (),
    ) -> Result:
        """All views of `request`, or those made before an error together with it; none where the context's frames got
        other poses meanwhile, or went.

        Poses that the same sources support are generated together, as many as the model takes; each further window of
        them is given views of the windows before (`pipeline.windows`).
        on_view(view, stamp): called as soon as a view is there. on_progress(index, progress): called between steps,
        with the index of the first pose at work and the fraction of the whole request. earlier: views of former
        requests whose world these show, too.
        """
        result = Result([], [])
        try:
            if request.coverage and not self._pipe.calibrated:
                raise InvalidRequest(
                    f"depth_coverage is {request.coverage:g}, expected 0: no coverage is known of the model "
                    f"'{self._pipe.name}', which is not calibrated (gld calibrate-confidence)"
                )
            context = self._shared.key_frames
            epoch = context.epoch
            frames = context.frames()
            if not frames:
                raise NoContext("the context holds no frame: no image with a CameraInfo and a pose came in so far")
            if request.intrinsics is None:
                _, width, height = max(
                    (f.camera.width * f.camera.height, f.camera.width, f.camera.height) for f in frames
                )
                check_pixels(request, width, height)
            poses = [self._in_map(*pose, job) for pose in request.poses]
            targets = [self._target(frames, pose, request) for pose in poses]
            self._limit = len(targets)
            while len(result.views) < len(targets):
                left, made = targets[len(result.views) :], [*earlier, *result.views]
                views, sources = self._views(frames, left, made, request, job, on_progress)
                if context.epoch != epoch:
                    return Result([], [], Cancelled("the map frame moved, or its frames were forgotten; ask again"))
                for view in views:
                    view = self._review(view, sources)
                    job.at("review")
                    result.stamps.append(request.poses[len(result.views)][1] or max(view.source_stamps))
                    result.views.append(view)
                    on_view(view, result.stamps[-1])
        except GLDError as error:
            return dataclasses.replace(result, error=without_history(error))
        except Exception as error:  # of what surrounds the model; the node must survive it
            return dataclasses.replace(result, error=ModelError(f"{type(error).__name__}: {error}"))
        return result

    def _in_map(self, frame: str, stamp: int, pose: np.ndarray, job: Job) -> np.ndarray:
        """(4, 4) of a pose in `frame`, in the map frame. Waits for TF until `tf_timeout` or the end of `job`."""
        end = time.monotonic() + self._shared.parameters.tf_timeout
        while True:
            job.check()
            left = end - time.monotonic()
            try:
                found = self._tf.lookup(frame, stamp, min(max(left, 0.0), TF_SLICE))
            except TFError:
                if left <= 0:
                    raise
            else:
                job.at("pose", f" of '{frame}'")
                return found @ pose

    def _target(self, frames: Sequence[SourceView], c2w: np.ndarray, request: ViewRequest) -> Camera:
        """The requested camera at pose `c2w`: without intrinsics that of the frame that sees best what it looks at."""
        if request.intrinsics is not None:
            return request.intrinsics.camera(c2w)
        (best,) = select_sources(frames, [frames[-1].camera.moved(c2w)], 1)
        return best.camera.moved(c2w)

    def _views(
        self,
        frames: Sequence[SourceView],
        left: Sequence[Camera],
        made: Sequence[View],
        request: ViewRequest,
        job: Job,
        on_progress: Callable[[int, Progress], None],
    ) -> tuple[list[View], Sequence[SourceView]]:
        """Views of the first of the targets that are left, at least one, in their share of the time that is left for
        all; and the sources that they were generated from."""
        job.check()
        parameters, pipe, done = self._shared.parameters, self._pipe, len(request.poses) - len(left)
        count = min(parameters.max_sources, pipe.max_sources)

        def choose(targets: Sequence[Camera], most: int) -> tuple[Sequence[SourceView], Sequence[Camera]]:
            return select_together(frames, targets, count, most)

        window = next_window(made, left[: self._limit], pipe.max_views, choose)
        job.at("sources")
        settings = {
            "steps": parameters.steps or None,
            "guidance_scale": parameters.guidance_scale or None,
            "seed": request.seed,
            "samples": request.samples,
            "max_novelty": parameters.max_novelty,
        }

        def stepped(count: int, progress: Progress) -> None:
            job.at(progress.stage, f", step {progress.step} of {progress.steps}")
            job.check_cancelled()
            fraction = (done + count * progress.fraction) / len(request.poses)
            on_progress(done, dataclasses.replace(progress, fraction=fraction))

        try:
            views = self._fallbacks.views(pipe, window, len(left), job, stepped, settings)
        except Exception as error:
            if isinstance(error, GLDError) and not isinstance(error, ModelError):
                raise
            failed = FailedRequest(list(window.sources), list(window.targets), settings, str(error))
            raise self._fallbacks.keep(error, failed) from None
        job.at("view")
        if len(views) < len(window.targets):
            self._limit = len(views)
        return views, window.sources[: len(views[0].source_stamps)]  # fewer where memory was short
