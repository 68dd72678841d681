# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Camera models by the names of COLMAP and nerfstudio: their coefficients, and the undistorted pinhole of each.

The order of COLMAP's parameters is that of its `src/colmap/sensor/models.h`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from gld_ros.errors import InvalidRequest
from gld_ros.geometry.cameras import Camera
from gld_ros.geometry.distortion import OPENCV_FISHEYE, THIN_PRISM_FISHEYE, Pinhole, undistort


@dataclass(frozen=True)
class CameraModel:
    """distortion: name for `undistort`. coefficients: keys of its D, in order. parameters: COLMAP's, in order; `f` is
    both focal lengths."""

    distortion: str
    coefficients: tuple[str, ...]
    parameters: tuple[str, ...] = ()


def _models() -> dict[str, CameraModel]:
    polynomial = "plumb_bob", ("k1", "k2", "p1", "p2", "k3")
    rational = "rational_polynomial", ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")
    fisheye = OPENCV_FISHEYE, ("k1", "k2", "k3", "k4")
    prism = THIN_PRISM_FISHEYE, ("k1", "k2", "k3", "k4", "p1", "p2", "sx1", "sy1")
    one, two = ("f", "cx", "cy"), ("fl_x", "fl_y", "cx", "cy")
    return {
        "SIMPLE_PINHOLE": CameraModel(*polynomial, one),
        "PINHOLE": CameraModel(*polynomial, two),
        "SIMPLE_RADIAL": CameraModel(*polynomial, (*one, "k1")),
        "RADIAL": CameraModel(*polynomial, (*one, "k1", "k2")),
        "OPENCV": CameraModel(*polynomial, (*two, "k1", "k2", "p1", "p2")),
        "FULL_OPENCV": CameraModel(*rational, (*two, *rational[1])),
        "SIMPLE_RADIAL_FISHEYE": CameraModel(*fisheye, (*one, "k1")),
        "RADIAL_FISHEYE": CameraModel(*fisheye, (*one, "k1", "k2")),
        "OPENCV_FISHEYE": CameraModel(*fisheye, (*two, *fisheye[1])),
        "EQUIDISTANT": CameraModel(*fisheye),
        "THIN_PRISM_FISHEYE": CameraModel(*prism, (*two, "k1", "k2", "p1", "p2", "k3", "k4", "sx1", "sy1")),
    }


MODELS = _models()
#: Keys that bend the rays; a model refuses those that it does not have.
COEFFICIENTS = (
    *(f"k{number}" for number in range(1, 9)),
    *(f"{letter}{number}" for letter in "ps" for number in range(1, 5)),
    "sx1", "sx2", "sy1", "sy2", "b1", "b2", "skew", "omega", "tau_x", "tau_y",
)  # fmt: skip


def known_model(name: str, where: str) -> CameraModel:
    """The model of this name. Raises InvalidRequest where it is unknown (a panorama, a model of other tools)."""
    if name not in MODELS:
        raise InvalidRequest(
            f"{where}: camera_model {name!r} cannot be read, one of {', '.join(MODELS)} is expected; undistort the "
            "images to a pinhole first"
        )
    return MODELS[name]


def pinhole(
    name: str, K: np.ndarray, numbers: Mapping[str, float], full: tuple[int, int], size: tuple[int, int], where: str
) -> Pinhole:
    """The undistorted pinhole of a lens. K: (3, 3) of an image of `full` (width, height); the pinhole is of its copy of
    `size`. numbers: the coefficients by key.

    Raises InvalidRequest for an unknown model, and for a coefficient that is not 0 and that the model does not have.
    """
    model = known_model(name, where)
    for key, value in numbers.items():
        if value and key not in model.coefficients:
            having = [other for other, its in MODELS.items() if key in its.coefficients]
            hint = f" ({key} belongs to {', '.join(having)})" if having else ""
            raise InvalidRequest(
                f"{where}: {key} is {value:g}, and camera_model {name} has only {', '.join(model.coefficients)}{hint}"
            )
    stated = Camera(K, np.eye(4), *full).check(where)
    D = tuple(numbers.get(key, 0.0) for key in model.coefficients)
    return _undistorted(tuple(stated.resized(*size).K.ravel()), D, model.distortion, *size, where.partition(":")[0])


@lru_cache(maxsize=8)
def _undistorted(
    K: tuple[float, ...], D: tuple[float, ...], model: str, width: int, height: int, where: str
) -> Pinhole:
    """One table for all frames of one lens: hundreds of them would fill the memory."""
    return undistort(np.reshape(K, (3, 3)), D, model, width, height, where)
