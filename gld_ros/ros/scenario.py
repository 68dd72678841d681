# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the demo plays, what it leaves out and what it asks for: of a recorded sequence or of the simulated robot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from gld_ros.data.sequence import DEFAULT_CAMERA, open_sequence
from gld_ros.errors import InvalidRequest
from gld_ros.evaluation.holdout import hold_out
from gld_ros.geometry.cameras import Camera
from gld_ros.geometry.quaternions import interpolate
from gld_ros.pipeline.views import SourceView

ROOM, ROOM_FRAMES, ROOM_SIZE = 1_000_000_007, 25, (320, 240)  # a room that no model was trained on
OUT_OF_DOMAIN = "the model mini was trained on procedural rooms: real images are out of its domain"


@dataclass(frozen=True)
class Scenario:
    """camera_module, camera_parameters: the node that plays it. camera_names: of its cameras, the first is asked for.

    sources: (camera name, Camera) of every frame shown; source(i) loads the i-th. stamps: theirs, nanoseconds.
    targets: the left-out frames asked for; titles: their names. unit: of poses and depth.
    """

    name: str
    camera_module: str
    camera_parameters: dict[str, Any]
    camera_names: list[str]
    sources: list[tuple[str, Camera]]
    stamps: list[int]
    source: Callable[[int], SourceView]
    targets: list[SourceView]
    titles: list[str]
    unit: str
    notes: list[str]

    def at(self, stamps: list[int]) -> list[SourceView]:
        """The sources shown at these stamps, in order. A stamp names no camera: repeated, it means the next one."""
        shown = []
        for position, stamp in enumerate(stamps):
            same = [index for index, other in enumerate(self.stamps) if other == stamp]
            shown.append(self.source(same[stamps[:position].count(stamp) % len(same)]))
        return shown

    def path(self, count: int) -> list[Camera]:
        """`count` cameras on the way from the middle target to the shown frame nearest in the drive's direction."""
        middle = self.targets[len(self.targets) // 2]
        own = [(stamp, camera) for stamp, (name, camera) in zip(self.stamps, self.sources, strict=True)
               if name == self.camera_names[0]]  # fmt: skip
        _, end = min((item for item in own if item[0] > middle.stamp), key=lambda item: item[0])
        shares = np.linspace(0, 1, count)
        return [middle.camera.moved(interpolate(middle.camera.c2w, end.c2w, share)) for share in shares]


def recorded_scenario(path: str | Path, views: int) -> Scenario:
    """Of a transforms.json folder or a rosbag2. Raises InvalidRequest where it is broken or too short."""
    sequence = open_sequence(path)
    instants = [group for group in sequence.instants() if group[0].camera_name == sequence.camera_names[0]]
    try:
        plan = hold_out(len(instants), views)
    except ValueError as error:
        raise InvalidRequest(f"{path}: {error}") from None
    shown = [frame for index in plan.shown for frame in instants[index]]
    kept = {id(frame) for frame in shown}
    left_out = [str(index) for index, frame in enumerate(sequence.frames) if id(frame) not in kept]
    targets = [instants[index][0].view() for index in plan.targets]
    notes = [OUT_OF_DOMAIN]
    if sequence.metric is None:
        notes.append("the sequence does not say whether its poses are metric: depth is in the poses' unit")
    elif not sequence.metric:
        notes.append("the poses are not metric: depth is in their unit")
    return Scenario(
        name=sequence.name,
        camera_module="gld_ros.ros.replay",
        camera_parameters={"sequence": str(Path(path).resolve()), "hold_out": ",".join(left_out)},
        camera_names=sequence.camera_names,
        sources=[(frame.camera_name, frame.camera) for frame in shown],
        stamps=[frame.stamp for frame in shown],
        source=lru_cache(None)(lambda index: shown[index].view()),
        targets=targets,
        titles=[f"time {index} of {sequence.name}" for index in plan.targets],
        unit=sequence.unit,
        notes=notes,
    )


def simulated_scenario(views: int) -> Scenario:
    """Of the robot that drives through a procedural room."""
    from gld_ros.data.simulation import Robot

    robot = Robot(ROOM, ROOM_FRAMES, *ROOM_SIZE)
    plan = hold_out(ROOM_FRAMES, views)
    return Scenario(
        name="demo",
        camera_module="gld_ros.ros.sim_camera",
        camera_parameters={
            "seed": ROOM,
            "frames": ROOM_FRAMES,
            "width": ROOM_SIZE[0],
            "height": ROOM_SIZE[1],
            "hold_out": ",".join(map(str, plan.left_out)),
        },
        camera_names=[DEFAULT_CAMERA],
        sources=[(DEFAULT_CAMERA, robot.cameras[index]) for index in plan.shown],
        stamps=[robot.stamp(index) for index in plan.shown],
        source=lru_cache(None)(lambda index: robot.views([plan.shown[index]])[0]),
        targets=robot.views(plan.targets),
        titles=[f"frame {index} of the drive" for index in plan.targets],
        unit="m",
        notes=["a simulated robot in a procedural room that the model was not trained on"],
    )
