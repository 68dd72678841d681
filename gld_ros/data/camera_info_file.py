# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Calibrations in files of their own: the YAML that ROS's camera calibration writes.

The keys are those of camera_calibration_parsers (`image_width`, `image_height`, `camera_matrix`, `distortion_model`,
`distortion_coefficients`, `rectification_matrix`, `projection_matrix`); each matrix has `rows`, `cols` and `data`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from rosbags.typesys.stores import ros2_jazzy as ros

from gld_ros.data.reading import read_yaml
from gld_ros.data.trajectory import numbers
from gld_ros.errors import InvalidRequest

WRITTEN_BY = "as camera_calibration of ROS writes it"


def read_camera_info(file: Path) -> Any:
    """The CameraInfo message of a file, without a stamp. Raises InvalidRequest naming the key that is wrong."""
    content, where = read_yaml(file), str(file)
    width, height = (_size(content, key, where) for key in ("image_width", "image_height"))
    K = _matrix(content, "camera_matrix", (3, 3), where)
    projection = np.column_stack([K, np.zeros(3)])
    if "projection_matrix" in content:
        projection = _matrix(content, "projection_matrix", (3, 4), where)
    rectification = np.eye(3)
    if "rectification_matrix" in content:
        rectification = _matrix(content, "rectification_matrix", (3, 3), where)
    model = content.get("distortion_model")
    if not isinstance(model, str):
        raise InvalidRequest(f"{where}: distortion_model is {model!r}, a name such as plumb_bob is expected")
    return ros.sensor_msgs__msg__CameraInfo(
        header=ros.std_msgs__msg__Header(stamp=ros.builtin_interfaces__msg__Time(0, 0), frame_id=""),
        height=height,
        width=width,
        distortion_model=model,
        d=_matrix(content, "distortion_coefficients", None, where).ravel(),
        k=K.ravel(),
        r=rectification.ravel(),
        p=projection.ravel(),
        binning_x=0,
        binning_y=0,
        roi=ros.sensor_msgs__msg__RegionOfInterest(x_offset=0, y_offset=0, height=0, width=0, do_rectify=False),
    )


def _size(content: dict[str, Any], key: str, where: str) -> int:
    value = content.get(key)
    if not isinstance(value, int) or value < 1:
        raise InvalidRequest(f"{where}: {key} is {value!r}, a number of pixels is expected, {WRITTEN_BY}")
    return value


def _matrix(content: dict[str, Any], key: str, shape: tuple[int, int] | None, where: str) -> np.ndarray:
    """Its `data`, of this shape, or a row of any length."""
    data = content[key].get("data") if isinstance(content.get(key), dict) else None
    if not isinstance(data, list):
        raise InvalidRequest(f"{where}: {key} is missing; rows, cols and data are expected, {WRITTEN_BY}")
    values = np.array(numbers(map(str, data), f"{where}: {key}"))
    shape = shape or (1, len(values))
    if len(values) != shape[0] * shape[1] or not np.isfinite(values).all():
        raise InvalidRequest(f"{where}: {key} is {data}, {shape[0]} x {shape[1]} finite numbers are expected")
    return values.reshape(shape)
