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
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from std_srvs.srv import Trigger

from gld_ros.errors import Cancelled, FileError, GLDError, InvalidRequest, NotActive
from gld_ros.ros.node.counters import Throttle, TopicCounters
from gld_ros.ros.node.map_topics import MapTopics
from gld_ros.ros.node.parameters import Parameters
from gld_ros.ros.node.waiting import done
from gld_ros.ros.node.worker import Job, Worker
from gld_ros.scene.key_frames import KeyFrameBuffer, select_sources
from gld_ros.scene.map.config import MapConfig
from gld_ros.scene.map.voxel_map import VoxelMap
from gld_ros.srv import LoadMap, SaveMap
from gld_ros.views import ObservedDepth, SourceView, View

QUEUE = 16  # jobs that may wait for the map's thread


class MapOutputs:
    """The map and its `MapTopics`; services ~/clear_map, ~/save_map, ~/load_map.

    With `map_enabled`, `map_rate` times a second: the model finds the depth of a new key frame, if no request keeps it
    busy, and what changed is published to those who listen. `pipe` is None while the node is not active.
    """

    def __init__(
        self,
        node: Node,
        parameters: Parameters,
        counters: TopicCounters,
        warn: Throttle,
        context: KeyFrameBuffer,
        model: Worker,
    ) -> None:
        """model: the worker that owns the pipeline. Raises InvalidRequest where the map's backend is not there."""
        self.pipe: Any = None
        self.on_depth: Callable[[ObservedDepth], None] = lambda found: None  # told of key frames, in the model's thread
        self.on_clear: Callable[[], None] = lambda: None  # told when the map is emptied, in any thread
        self._node, self._counters, self._warn, self._context, self._model = node, counters, warn, context, model
        self._map = VoxelMap(map_config(parameters))
        self._worker = Worker(QUEUE)
        self._seen: SourceView | None = None  # the newest key frame whose depth was asked for
        self._position: np.ndarray | None = None  # of the newest key frame, metres
        self._epoch = self._map_epoch = 0  # goes up where time or frame jump; the map follows in its own thread
        self.report: dict[str, int] = {}  # for diagnostics
        self._publishing: Job | None = None
        self._topics = MapTopics(node, counters)
        group = ReentrantCallbackGroup()
        node.create_service(Trigger, "~/clear_map", self._on_clear, callback_group=group)
        node.create_service(SaveMap, "~/save_map", self._on_save, callback_group=group)
        node.create_service(LoadMap, "~/load_map", self._on_load, callback_group=group)
        steady = Clock(clock_type=ClockType.STEADY_TIME)  # it has to run while a simulated clock stands still
        self._timer = node.create_timer(1 / parameters.map_rate, self._tick, clock=steady, autostart=False)
        self.parameters = parameters

    @property
    def parameters(self) -> Parameters:
        return self._parameters

    @parameters.setter
    def parameters(self, parameters: Parameters) -> None:
        self._parameters = parameters
        if parameters.map_enabled and self._timer.is_canceled():
            self._timer.reset()
        elif not parameters.map_enabled and not self._timer.is_canceled():
            self._timer.cancel()
            self._submit(lambda job: self._publish(last=True))

    def add_view(self, view: View) -> None:
        """Take a synthesized view; from any thread."""
        if self.parameters.map_enabled:
            self._submit(lambda job: self._integrate_view(view))

    def clear(self) -> None:
        """Forget the map and what waits to enter it, as time or the map's frame jumped; from any thread."""
        self._seen = self._position = None
        self._epoch += 1
        self.on_clear()

    def stop(self, timeout: float) -> bool:
        """End the map's thread; returns whether it ended within `timeout` seconds."""
        self._timer.cancel()
        return self._worker.stop(timeout)

    # ---- in the executor's thread

    def _tick(self) -> None:
        epoch = self._epoch
        frames = self._context.frames()
        if frames:
            self._position = frames[-1].camera.center
            if self.pipe is not None and frames[-1] is not self._seen and not self._model.busy:
                self._look(self.pipe, frames, epoch)
        if self._publishing is None or self._publishing.future.done():
            self._publishing = self._submit(lambda job: self._publish())

    def _look(self, pipe: Any, frames: list[SourceView], epoch: int) -> None:
        """Have the model find the depth of the newest key frame, for the map of this `epoch`."""
        self._seen = newest = frames[-1]
        count = min(self.parameters.max_sources, pipe.max_sources)

        def look(job: Job) -> None:
            sources = select_sources(frames, [newest.camera], count)
            job.check()
            if len(sources) > 1:  # one has no parallax
                for source, found in zip(sources, pipe.observed_depth(sources), strict=False):
                    if source is newest and epoch == self._epoch:  # the others had their turn
                        self._submit(partial(self._integrate_depth, found), epoch)
                        self.on_depth(found)

        def settle(future: Any) -> None:
            error = future.exception()
            if error is not None and not isinstance(error, Cancelled):
                self._warn("map_depth", f"no depth of a key frame for the map: {type(error).__name__}: {error}")

        try:
            self._model.submit(look).future.add_done_callback(settle)
        except GLDError:  # requests wait, or the worker is broken; the next key frame will do
            pass

    async def _on_clear(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        def clear(job: Job) -> None:
            response.message = "forgot " + ", ".join(f"{n} {name} voxels" for name, n in self._map.sizes().items())
            self._map.clear()
            self.on_clear()
            response.success = True

        try:
            await self._run(clear)
        except GLDError as error:
            response.message = str(error)
        return response

    async def _on_save(self, request: SaveMap.Request, response: SaveMap.Response) -> SaveMap.Response:
        def save(job: Job) -> None:
            files = self._map.save(path_inside(self.parameters.map_folder, request.path))
            response.files = [str(file) for file in files]

        return await self._answer(save, response)

    async def _on_load(self, request: LoadMap.Request, response: LoadMap.Response) -> LoadMap.Response:
        def load(job: Job) -> None:
            self._map.load(path_inside(self.parameters.map_folder, request.path))
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
            self._node.get_logger().warning(f"map request answered {named.code}: {named}")
        return response

    async def _run(self, work: Callable[[Job], None]) -> None:
        """Do `work` in the map's thread. Raises what it raises, and NotActive without a map."""
        if not self.parameters.map_enabled:
            raise NotActive("the parameter map_enabled is false: there is no map")
        job = self._worker.submit(partial(self._in_epoch, work, None))
        await done(self._node, job)
        job.future.result()

    # ---- in any thread

    def _submit(self, work: Callable[[Job], None], epoch: int | None = None) -> Job | None:
        """Queue `work` on the map of `epoch` (None: of now); what it raises is logged. None where too much waits: it
        is dropped and counted."""
        try:
            job = self._worker.submit(partial(self._in_epoch, work, self._epoch if epoch is None else epoch))
        except GLDError as error:
            self._counters.add(self._topics.name, "dropped_queue_full")
            self._warn("map_queue", f"the map is behind: {error}")
            return None

        def settle(future: Any) -> None:
            error = future.exception()
            if error is not None and not isinstance(error, Cancelled):
                self._warn("map", f"the map: {type(error).__name__}: {error}")

        job.future.add_done_callback(settle)
        return job

    # ---- in the map's thread

    def _in_epoch(self, work: Callable[[Job], None], epoch: int | None, job: Job) -> None:
        """Do `work`, unless it belongs to an `epoch` that is over (None: to any)."""
        if self._map_epoch != (now := self._epoch):
            self._map.clear()
            self._map_epoch = now
        if epoch in (now, None):
            work(job)

    def _integrate_view(self, view: View) -> None:
        self._forget()
        self._map.integrate_view(view)
        age = abs(self._now() - max(view.source_stamps, default=0)) * 1e-9
        if age > self._map.config.generated_lifetime:
            self._warn(
                "map_age",
                f"the sources of a view are {age:.0f} s away from the node's clock: its generated points are not kept "
                "(a bag needs use_sim_time and a /clock)",
            )

    def _integrate_depth(self, found: ObservedDepth, job: Job) -> None:
        self._forget()
        self._map.integrate_observed(found.depth, found.image, found.confidence, found.camera, found.stamp)

    def _publish(self, last: bool = False) -> None:
        self._forget()
        self._topics.publish(self._map, self.parameters, self._now(), last)
        sizes = {f"map_{layer}": size for layer, size in self._map.sizes().items()}
        self.report = {
            **sizes,
            "map_replaced": self._map.counts["replaced"],
            "map_evicted": self._map.counts["evicted"],
        }

    def _forget(self) -> None:
        """What is too old by the node's clock, or too far from the robot."""
        if self._position is not None and self._now() > 0:
            self._map.forget(self._position, self._now())

    def _now(self) -> int:
        return self._node.get_clock().now().nanoseconds


def map_config(p: Parameters) -> MapConfig:
    """The map's settings among a node's parameters."""
    return MapConfig(
        voxel_size=p.map_voxel_size,
        max_depth=p.map_max_depth,
        min_confidence=p.map_min_confidence,
        free_confidence=p.map_free_confidence,
        free_margin=p.map_free_margin,
        radius=p.map_radius,
        generated_lifetime=p.map_generated_lifetime,
        max_voxels=p.map_max_voxels,
        backend=p.map_backend,
    )


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
