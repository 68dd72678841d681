# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The map of `gld_node`: fed with views and with the depth of key frames, published, saved and loaded.

One thread owns the map; callbacks and the model's worker only enqueue.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rclpy.callback_groups import ReentrantCallbackGroup
from std_srvs.srv import Trigger

from gld_ros.errors import FileError, GLDError, InvalidRequest, NotActive
from gld_ros.ros.node.drift_check import RealityChecker
from gld_ros.ros.node.map_topics import MapTopics
from gld_ros.ros.node.shared import Shared
from gld_ros.ros.node.worker import Job, Worker
from gld_ros.scene.key_frames import select_sources
from gld_ros.scene.map.voxel_map import VoxelMap
from gld_ros.srv import LoadMap, SaveMap
from gld_ros.views import ObservedDepth, SourceView, View

QUEUE = 16  # jobs that may wait for the map's thread


class MapOutputs:
    """The map and its `MapTopics`; services ~/clear_map, ~/save_map, ~/load_map.

    With `map_enabled`, `map_rate` times a second: the model finds the depth of a new key frame, if no request keeps it
    busy, and what changed is published to those who listen. cleared: how often ~/clear_map emptied it.
    """

    def __init__(self, shared: Shared, reality: RealityChecker) -> None:
        """reality: takes the depth of key frames, too. Raises InvalidRequest where the map's backend is not there."""
        parameters = shared.parameters
        self.cleared = 0
        self._shared, self._reality, self._warn = shared, reality, shared.warn
        self._context, self._model = shared.key_frames, shared.worker
        self._map = VoxelMap(parameters.map_config)
        self._worker = Worker(QUEUE)
        self._seen: SourceView | None = None  # the newest key frame whose depth was asked for
        self._position: tuple[int, np.ndarray] | None = None  # jumps until then; of the newest key frame, metres
        self._jumps = 0  # of time or the map frame that the map has followed, in its own thread
        self.report: dict[str, int] = {}  # for diagnostics
        self._publishing: Job | None = None
        self._topics = MapTopics(shared.node, shared.counters)
        group = ReentrantCallbackGroup()
        shared.serve("~/clear_map", self._on_clear, callback_group=group)
        shared.serve("~/save_map", self._on_save, callback_group=group)
        shared.serve("~/load_map", self._on_load, callback_group=group)
        self._timer = shared.timer(1 / parameters.map_rate, self._tick, autostart=parameters.map_enabled)

    def follow_parameters(self) -> None:
        """To be called when a parameter has changed."""
        enabled = self._shared.parameters.map_enabled
        if enabled and self._timer.is_canceled():
            self._timer.reset()
        elif not enabled and not self._timer.is_canceled():
            self._timer.cancel()
            self._submit(lambda job: self._publish(last=True))

    def add_view(self, view: View) -> None:
        """Take a synthesized view; from any thread."""
        if self._shared.parameters.map_enabled:
            self._submit(lambda job: self._integrate_view(view))

    def stop(self, timeout: float) -> bool:
        """End the map's thread; returns whether it ended within `timeout` seconds."""
        self._timer.cancel()
        return self._worker.stop(timeout)

    # ---- in the executor's thread

    def _tick(self) -> None:
        jumps, session = self._context.jumps, self._shared.session
        frames = self._context.frames()
        if frames:
            self._position = jumps, frames[-1].camera.center
            if session is not None and frames[-1] is not self._seen and not self._model.busy:
                self._look(session.pipe, frames, jumps)
        if self._publishing is None or self._publishing.future.done():
            self._publishing = self._submit(lambda job: self._publish())

    def _look(self, pipe: Any, frames: list[SourceView], jumps: int) -> None:
        """Have the model find the depth of the newest key frame, for the map after so many `jumps`."""
        self._seen = newest = frames[-1]
        count = min(self._shared.parameters.max_sources, pipe.max_sources)

        def look(job: Job) -> None:
            sources = select_sources(frames, [newest.camera], count)
            job.check()
            if len(sources) > 1 or newest.depth is not None:  # one without a depth sensor has no parallax
                for source, found in zip(sources, pipe.observed_depth(sources), strict=False):
                    if source is newest and jumps == self._context.jumps:  # the others had their turn
                        self._submit(partial(self._integrate_depth, found), jumps)
                        self._reality.observe(found)

        try:
            self._shared.warn_of(self._model.submit(look), "map_depth", "no depth of a key frame for the map")
        except GLDError:  # requests wait, or the worker is broken; the next key frame will do
            pass

    async def _on_clear(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        def clear(job: Job) -> None:
            response.message = "forgot " + ", ".join(f"{n} {name} voxels" for name, n in self._map.sizes().items())
            self._map.clear()
            self.cleared += 1
            response.success = True

        try:
            await self._run(clear)
        except GLDError as error:
            response.message = str(error)
        return response

    async def _on_save(self, request: SaveMap.Request, response: SaveMap.Response) -> SaveMap.Response:
        def save(job: Job) -> None:
            files = self._map.save(path_inside(self._shared.parameters.map_folder, request.path))
            response.files = [str(file) for file in files]

        return await self._answer(save, response)

    async def _on_load(self, request: LoadMap.Request, response: LoadMap.Response) -> LoadMap.Response:
        def load(job: Job) -> None:
            self._map.load(path_inside(self._shared.parameters.map_folder, request.path))
            self._forget()
            response.observed, response.generated = self._map.sizes().values()

        return await self._answer(load, response)

    async def _answer(self, work: Callable[[Job], None], response: Any) -> Any:
        """The response after `work`, with an error code where that failed."""
        try:
            await self._run(work)
        except Exception as error:  # whatever a file can hold, the executor must survive it
            named = error if isinstance(error, GLDError) else FileError(f"{type(error).__name__}: {error}")
            response.error_code, response.error_message = getattr(response, named.code), str(named)
            self._shared.log.warning(f"map request answered {named.code}: {named}")
        return response

    async def _run(self, work: Callable[[Job], None]) -> None:
        """Do `work` in the map's thread. Raises what it raises, and NotActive without a map."""
        if not self._shared.parameters.map_enabled:
            raise NotActive("the parameter map_enabled is false: there is no map")
        job = self._worker.submit(partial(self._follow_jumps, work, None))
        await self._shared.done(job)
        job.future.result()

    # ---- in any thread

    def _submit(self, work: Callable[[Job], None], jumps: int | None = None) -> Job | None:
        """Queue `work` on the map after so many `jumps` (None: the present one); what it raises is logged. None where
        too much waits: it is dropped and counted."""
        jumps = self._context.jumps if jumps is None else jumps
        try:
            job = self._worker.submit(partial(self._follow_jumps, work, jumps))
        except GLDError as error:
            self._shared.counters.add(self._topics.name, "dropped_queue_full")
            self._warn("map_queue", f"the map is behind: {error}")
            return None
        return self._shared.warn_of(job, "map", "the map")

    # ---- in the map's thread

    def _follow_jumps(self, work: Callable[[Job], None], jumps: int | None, job: Job) -> None:
        """Do `work`, unless time or frame jumped since it was asked for, after so many `jumps` (None: whenever). The
        map of before a jump is forgotten."""
        if self._jumps != (now := self._context.jumps):
            self._map.clear()
            self._jumps = now
        if jumps in (now, None):
            work(job)

    def _integrate_view(self, view: View) -> None:
        self._forget()
        self._map.integrate_view(view)
        age = abs(self._shared.now() - max(view.source_stamps, default=0)) * 1e-9
        if age > self._map.config.generated_lifetime:
            self._warn(
                "map_age",
                f"the sources of a view are {age:.0f} s away from the node's clock: its generated points are not kept "
                "(a bag needs use_sim_time and a /clock)",
            )

    def _integrate_depth(self, found: ObservedDepth, job: Job) -> None:
        self._shared.warn_of_float32(found.camera.center)
        self._forget()
        self._map.integrate_observed(
            found.depth, found.image, found.confidence, found.camera, found.stamp, measured=found.measured
        )

    def _publish(self, last: bool = False) -> None:
        self._forget()
        self._topics.publish(self._map, self._shared.parameters, self._shared.now(), last)
        sizes = {f"map_{layer}": size for layer, size in self._map.sizes().items()}
        self.report = {
            **sizes,
            "map_replaced": self._map.counts["replaced"],
            "map_evicted": self._map.counts["evicted"],
        }

    def _forget(self) -> None:
        """Remove points that are too old by the node's clock, or too far from the robot."""
        now = self._shared.now()
        if self._position is not None and self._position[0] == self._context.jumps and now > 0:
            self._map.forget(self._position[1], now)


def path_inside(folder: str, path: str) -> Path:
    """The absolute `path`, relative to `folder`. Raises InvalidRequest for one that leads out of it, by any way."""
    root = Path(folder).expanduser().resolve()
    try:
        whole = (root / path).resolve()
        files = [whole, *(whole.with_name(whole.name + ending).resolve() for ending in (".npz", ".ply"))]
    except (ValueError, OSError, RuntimeError) as error:  # no name, NUL, too long, a loop of links
        raise InvalidRequest(f"path '{path}' cannot be: {error}") from None
    if whole == root or not all(file.is_relative_to(root) for file in files):
        raise InvalidRequest(f"path '{path}' is not the name of a map inside {root} (parameter map_folder)")
    return whole
