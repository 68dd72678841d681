# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What `gld_node` has in states of its lifecycle: model and TF once configured; inputs and answers while active."""

from __future__ import annotations

from functools import partial

import tf2_ros

from gld_ros.errors import GLDError, ModelError
from gld_ros.pipeline.pipeline import GLDPipeline
from gld_ros.ros.node.drift_check import RealityChecker
from gld_ros.ros.node.fallbacks import Fallbacks, release
from gld_ros.ros.node.guards import forget_destroyed
from gld_ros.ros.node.health import Health
from gld_ros.ros.node.intake import Intake
from gld_ros.ros.node.parameters import Parameters
from gld_ros.ros.node.poses import TFPoses
from gld_ros.ros.node.shared import Shared
from gld_ros.ros.node.synthesizer import Synthesizer


class Configured:
    """From configure to cleanup: the model, and poses from the TF `buffer`. Raises as `load` and `Worker.call` do."""

    def __init__(self, shared: Shared, buffer: tf2_ros.Buffer) -> None:
        p = shared.parameters
        shared.worker.start()
        self.pipe: GLDPipeline = shared.worker.call(partial(load, p), p.watchdog_timeout)
        self.tf = TFPoses(buffer, p.map_frame, p.odom_frame)
        self._shared, self._buffer = shared, buffer
        self._listener = tf2_ros.TransformListener(buffer, shared.node, spin_thread=False)

    def close(self) -> None:
        self._listener.unregister()
        self._buffer.clear()
        forget_destroyed(self._shared.node)


class Session:
    """From activate to deactivate: the node listens to its inputs and answers requests."""

    def __init__(
        self, shared: Shared, configured: Configured, reality: RealityChecker, fallbacks: Fallbacks, health: Health
    ) -> None:
        self.pipe, self.tf = configured.pipe, configured.tf
        self.synthesizer = Synthesizer(shared, self.pipe, self.tf, partial(reality.review, self.pipe), fallbacks)
        self.intake = Intake(shared, self.tf, health)


def load(p: Parameters) -> GLDPipeline:
    """The model, warmed up. For the worker's thread: OpenMP has a team of threads for each one that computes, and where
    these are more than the cores all wait asleep for each other: a request takes a fifth longer (docs/performance.md).

    Raises ModelError where a library wants to end the process, and whatever else is wrong with a model or device.
    """
    try:
        pipe = GLDPipeline.from_pretrained(
            p.model,
            device=None if p.device == "auto" else p.device,
            dtype=None if p.dtype == "auto" else p.dtype,
            offload=None if p.offload == "none" else p.offload,
            local_files_only=True,  # a robot's node downloads nothing on its own
        )
        pipe.warm_up()  # which also teaches it how long requests with a time budget take
    except SystemExit as error:
        raise ModelError(f"SystemExit: {error}") from None
    return pipe


def give_memory_back(shared: Shared, pipe: GLDPipeline | None = None) -> None:
    """Once nothing is at work any more, free what the model holds besides its weights, or what is left of it."""
    try:
        shared.worker.submit(lambda job: release(pipe))
    except GLDError as error:
        shared.log.warning(f"the model's memory is not freed: {error}")
