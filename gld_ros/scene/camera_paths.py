# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Camera paths around what a camera sees, for made scenes. Sizes follow the scene: its distance from the camera."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy.spatial.transform import Rotation

from gld_ros.errors import InvalidRequest
from gld_ros.geometry.se3 import rigid

#: Degrees that an orbit and a turn cover, and the share of the distance that a straight path does.
ORBIT, TURN, WAY = 30.0, 40.0, 0.35


def _orbit(share: float, distance: float) -> np.ndarray:
    """To the right and back to the left around the point straight ahead, which stays in the middle."""
    turn = Rotation.from_euler("y", -math.radians(ORBIT / 2) * math.sin(2 * math.pi * share)).as_matrix()
    middle = np.array([0.0, 0.0, distance])
    return rigid(turn, middle - turn @ middle)


def _straight(*direction: float) -> Callable[[float, float], np.ndarray]:
    return lambda share, distance: rigid(np.eye(3), share * WAY * distance * np.array(direction))


def _turn(axis: str, sign: float) -> Callable[[float, float], np.ndarray]:
    return lambda share, distance: rigid(
        Rotation.from_euler(axis, sign * math.radians(TURN) * share).as_matrix(), np.zeros(3)
    )


#: Name: (share of the way 0..1, distance of the scene) -> (4, 4) pose in the first camera (x right, y down, z ahead).
PATHS: dict[str, Callable[[float, float], np.ndarray]] = {
    "orbit": _orbit,
    "forward": _straight(0, 0, 1),
    "backward": _straight(0, 0, -1),
    "left": _straight(-1, 0, 0),
    "right": _straight(1, 0, 0),
    "up": _straight(0, -1, 0),
    "down": _straight(0, 1, 0),
    "turn_left": _turn("y", -1),
    "turn_right": _turn("y", 1),
}


def camera_path(name: str, first: np.ndarray, count: int, distance: float) -> list[np.ndarray]:
    """c2w (4, 4) of `count` cameras after the first one (4, 4), in its world. distance: of the scene, in its unit.

    Raises InvalidRequest for a path that is not known and for a distance that is not above 0.
    """
    if name not in PATHS:
        raise InvalidRequest(f"camera path is '{name}', expected one of {', '.join(PATHS)}")
    if not 0 < distance < math.inf:
        raise InvalidRequest(f"the scene is {distance:g} away, expected a distance above 0")
    return [first @ PATHS[name](share, distance) for share in np.linspace(0, 1, count + 1)[1:]]
