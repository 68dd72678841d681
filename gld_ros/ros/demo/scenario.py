# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the demo plays, what it leaves out and what it asks for: of a recorded sequence or of the simulated robot."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from gld_ros.data.sequence import DEFAULT_CAMERA, made_up_stamp, open_sequence
from gld_ros.errors import InvalidRequest
from gld_ros.evaluation.results import hold_out
from gld_ros.geometry.cameras import Camera
from gld_ros.geometry.se3 import interpolate_pose
from gld_ros.views import SourceView

ROOM, ROOM_SIZE = 1_000_000_023, (320, 240)  # a room that no model was trained on
LAST = 21  # frame of the drive at which the robot stands before a doorway
BETWEEN = 10  # the frame that is left out and asked for
#: Asked for from there: name, metres ahead, metres to the left, degrees to the left.
LOOKS = (
    ("turned 55 degrees to the left", 0.0, 0.0, 55.0),
    ("turned 55 degrees to the right", 0.0, 0.0, -55.0),
    ("further on, 1.6 m ahead", 1.6, 0.0, -35.0),
    ("around the corner, 1.2 m ahead", 1.2, 0.0, 60.0),
)
LEAST_GENERATED = 0.25  # share of the requested pixels of the simulated robot, for which the demo is made
OUT_OF_DOMAIN = "the model mini was trained on procedural rooms: real images are out of its domain"


@dataclass(frozen=True)
class Scenario:
    """camera_module, camera_parameters: the node that plays it. camera_names: of its cameras, the first is asked for.

    sources: (camera name, Camera) of every frame shown; source(i) loads the i-th. stamps: theirs, nanoseconds.
    targets: the views asked for, as they really are; titles: their names. requests: which targets are asked for
    together, by index. way: ends of the path asked for. unit: of poses and depth. least_generated: share of the
    requested pixels below which the demo has missed its point.
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
    requests: list[list[int]]
    way: tuple[Camera, Camera]
    unit: str
    notes: list[str]
    least_generated: float = 0.0

    def at(self, stamps: list[int]) -> list[SourceView]:
        """The sources shown at these stamps, in order. A stamp names no camera: repeated, it means the next one."""
        shown = []
        for position, stamp in enumerate(stamps):
            same = [index for index, other in enumerate(self.stamps) if other == stamp]
            shown.append(self.source(same[stamps[:position].count(stamp) % len(same)]))
        return shown

    def path(self, count: int) -> list[Camera]:
        """`count` cameras along `way`."""
        start, end = self.way
        return [start.moved(interpolate_pose(start.c2w, end.c2w, share)) for share in np.linspace(0, 1, count)]


def _absolute(path: str | Path) -> str:
    """A path from any folder; `KIND:PATH?OPTION=VALUE` stays as it is."""
    return str(Path(path).resolve()) if Path(path).exists() else str(path)


def recorded_scenario(path: str | Path, views: int) -> Scenario:
    """The scenario of what `open_sequence` reads. Raises InvalidRequest where it is broken or too short."""
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
    middle = targets[len(targets) // 2]
    after = next(index for index in plan.shown if instants[index][0].stamp > middle.stamp)
    notes = [OUT_OF_DOMAIN]
    if sequence.metric is None:
        notes.append("the sequence does not say whether its poses are metric: depth is in the poses' unit")
    elif not sequence.metric:
        notes.append("the poses are not metric: depth is in their unit")
    return Scenario(
        name=sequence.name,
        camera_module="gld_ros.ros.drivers.replay",
        camera_parameters={"sequence": _absolute(path), "hold_out": ",".join(left_out)},
        camera_names=sequence.camera_names,
        sources=[(frame.camera_name, frame.camera) for frame in shown],
        stamps=[frame.stamp for frame in shown],
        source=lru_cache(None)(lambda index: shown[index].view()),
        targets=targets,
        titles=[f"time {index} of {sequence.name}" for index in plan.targets],
        requests=[[index] for index in range(len(targets))],
        way=(middle.camera, instants[after][0].camera),
        unit=sequence.unit,
        notes=notes,
    )


def simulated_scenario() -> Scenario:
    """The robot drives up to a doorway of a furnished room and is asked for what it has not seen from there."""
    from gld_ros.data.simulation import Robot

    robot = Robot(ROOM, LAST + 1, *ROOM_SIZE)
    shown = [index for index in range(LAST + 1) if index != BETWEEN]
    looks = [robot.beside(LAST, ahead, left, math.radians(turn)) for _, ahead, left, turn in LOOKS]
    return Scenario(
        name="demo",
        camera_module="gld_ros.ros.drivers.sim_camera",
        camera_parameters={
            "seed": ROOM,
            "frames": LAST + 1,
            "width": ROOM_SIZE[0],
            "height": ROOM_SIZE[1],
            "hold_out": str(BETWEEN),
        },
        camera_names=[DEFAULT_CAMERA],
        sources=[(DEFAULT_CAMERA, robot.cameras[index]) for index in shown],
        stamps=[made_up_stamp(index) for index in shown],
        source=lru_cache(None)(lambda index: robot.views([shown[index]])[0]),
        targets=robot.views([BETWEEN]) + robot.render(looks, [made_up_stamp(LAST)] * len(looks)),
        titles=["between two frames", *(name for name, *_ in LOOKS)],
        requests=[[0], list(range(1, 1 + len(looks)))],
        way=(robot.cameras[LAST], looks[-1]),
        unit="m",
        notes=["a simulated robot in a furnished room that the model was not trained on"],
        least_generated=LEAST_GENERATED,
    )
