# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The model of `gld_node`, as its parameters say."""

from __future__ import annotations

from gld_ros.errors import ModelError
from gld_ros.pipeline.pipeline import GLDPipeline
from gld_ros.ros.node.parameters import Parameters


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
