# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""EuRoC MAV and what else is in the ASL layout (TUM-VI): cameras and a ground truth, each with a list of its own.

    mav0/cam0/data.csv               timestamp [ns], file name in mav0/cam0/data
    mav0/cam0/sensor.yaml            T_BS, resolution, intrinsics, distortion_model, distortion_coefficients
    mav0/GROUNDTRUTH/data.csv        timestamp [ns], position (m), quaternion w x y z, ...
    mav0/GROUNDTRUTH/sensor.yaml     T_BS of what was tracked; where there is none, that is the body

TUM-VI has no sensor.yaml, but dso/camchain.yaml (Kalibr) beside mav0, whose T_cam_imu is the inverse of T_BS.

T_BS is the pose of a sensor in the body. Pixel centres are whole numbers. Poses are interpolated to the images' times;
images outside the ground truth are left out. https://projects.asl.ethz.ch/datasets/euroc-mav
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gld_ros.data.formats.camera_models import MODELS, pinhole
from gld_ros.data.formats.sequences import SequenceScenes
from gld_ros.data.reading import read_rgb, read_yaml
from gld_ros.data.sequence import Frame, Sequence
from gld_ros.data.tables import columns, nanoseconds, numbers
from gld_ros.data.trajectory import Trajectory
from gld_ros.errors import InvalidRequest
from gld_ros.geometry.cameras import HALF_PIXEL, intrinsics
from gld_ros.geometry.distortion import Pinhole
from gld_ros.geometry.se3 import check_rigid, invert, pose_from_quaternion

#: Folders with poses, the best first.
GROUND_TRUTH = ("state_groundtruth_estimate0", "mocap0", "vicon0")
CAMCHAIN = "dso/camchain.yaml"
POSITIONS = "leica0"  # without orientations
#: Names of `camera_models.MODELS` by those of Kalibr and the VI-Sensor.
DISTORTIONS = {
    "radial-tangential": "OPENCV", "radtan": "OPENCV", "plumb_bob": "OPENCV", "none": "PINHOLE",
    "equidistant": "OPENCV_FISHEYE",
}  # fmt: skip


class EuRoCScenes(SequenceScenes):
    """Recordings in the ASL layout: `mav0`, or the folder around it."""

    expected = "mav0/cam0/data.csv"

    @staticmethod
    def accepts(path: Path) -> bool:
        return (_root(path) / "cam0/data.csv").is_file()

    def open(self, path: Path) -> Sequence:
        root = _root(path)
        truth = _ground_truth(root)
        frames = []
        for folder in sorted(root.glob("cam*")):
            if (folder / "data.csv").is_file():
                model, in_body = _lens(*_calibration(folder))
                rows = columns(folder / "data.csv", separator=",")
                make = partial(_frame, folder=folder, model=model, in_body=in_body, truth=truth)
                frames += self.good_frames(folder, enumerate(rows), make)
        if not frames:
            first = columns(root / "cam0/data.csv", separator=",")[0][0]
            raise InvalidRequest(
                f"{root}: no image at a time of the ground truth: {truth.where} has poses from {truth.span()}, the "
                f"first image is of {float(first) / 1e9:.3f} s; the clocks differ"
            )
        return Sequence(path.resolve().name, path, frames, metric=True)


def _root(path: Path) -> Path:
    return path / "mav0" if (path / "mav0").is_dir() else path


def _frame(
    entry: tuple[int, list[str]], folder: Path, model: Pinhole, in_body: np.ndarray, truth: Trajectory
) -> Frame | None:
    """The frame of a line of data.csv; None outside the ground truth."""
    number, row = entry
    where = f"{folder / 'data.csv'}: entry {number}"
    if len(row) < 2:
        raise InvalidRequest(f"{where}: {row[0]!r}, a timestamp and the name of a file are expected")
    stamp, file = nanoseconds(row[0], "ns", where, "the format"), folder / "data" / row[1]
    body = truth.at(stamp)
    if body is None:
        return None
    if not file.is_file():
        raise InvalidRequest(f"{where}: {file} does not exist")
    camera = model.camera(body @ in_body).check(str(file))
    return Frame(str(file), folder.name, stamp, camera, partial(_image, file, model))


def _image(file: Path, model: Pinhole) -> np.ndarray:
    return model.apply(read_rgb(file, str(file), (model.width, model.height)), str(file))


def _calibration(folder: Path) -> tuple[dict[str, Any], str]:
    """Content of a camera's sensor.yaml, or of camchain.yaml in the same words, and where it is."""
    file = folder / "sensor.yaml"
    chain = folder.parent.parent / CAMCHAIN
    if file.is_file() or not chain.is_file():
        return read_yaml(file), str(file)
    camera, where = read_yaml(chain).get(folder.name), f"{chain}: {folder.name}"
    if not isinstance(camera, dict):
        raise InvalidRequest(f"{where} is missing")
    T_cam_imu = np.array(camera.get("T_cam_imu"), dtype=object).ravel().tolist()
    T_BS = invert(_in_body({"T_BS": {"data": T_cam_imu}}, f"{where}: T_cam_imu"))
    words = {"distortion_coefficients": camera.get("distortion_coeffs", []), "T_BS": {"data": T_BS.ravel().tolist()}}
    return camera | words, where


def _lens(content: dict[str, Any], where: str) -> tuple[Pinhole, np.ndarray]:
    """The undistorted pinhole and its pose in the body."""
    if str(content.get("camera_model")) != "pinhole":
        raise InvalidRequest(f"{where}: camera_model is {content.get('camera_model')!r}, pinhole is expected")
    name = str(content.get("distortion_model", "none"))
    if name not in DISTORTIONS:
        raise InvalidRequest(f"{where}: distortion_model is {name!r}, one of {', '.join(DISTORTIONS)} is expected")
    width, height = (int(value) for value in _numbers(content, "resolution", (2,), where))
    K = intrinsics(*_numbers(content, "intrinsics", (4,), where)) + HALF_PIXEL
    D = _numbers(content, "distortion_coefficients", (0, 4, 5), where) if name != "none" else []
    coefficients = dict(zip(MODELS[DISTORTIONS[name]].coefficients, D, strict=False))
    size = width, height
    return pinhole(DISTORTIONS[name], K, coefficients, size, size, where), _in_body(content, where)


def _in_body(content: dict[str, Any], where: str) -> np.ndarray:
    """(4, 4) T_BS."""
    if not isinstance(content.get("T_BS"), dict):
        raise InvalidRequest(f"{where}: T_BS is missing; the pose of the sensor in the body is expected")
    pose = np.reshape(_numbers(content["T_BS"], "data", (16,), f"{where}: T_BS"), (4, 4))
    check_rigid(pose, f"{where}: T_BS")
    return pose


def _numbers(content: dict[str, Any], key: str, counts: tuple[int, ...], where: str) -> list[float]:
    values = content.get(key, [])
    if not isinstance(values, list) or len(values) not in counts:
        raise InvalidRequest(f"{where}: {key} is {values!r}, {' or '.join(map(str, counts))} numbers are expected")
    return numbers(map(str, values), f"{where}: {key}")


def _ground_truth(root: Path) -> Trajectory:
    """Poses of the body."""
    folder = next((root / name for name in GROUND_TRUTH if (root / name / "data.csv").is_file()), None)
    if folder is None:
        only = f"; {POSITIONS} has positions without orientations" if (root / POSITIONS).is_dir() else ""
        raise InvalidRequest(
            f"{root}: no poses, {GROUND_TRUTH[0]}/data.csv or another of {GROUND_TRUTH} is expected{only}"
        )
    tracked, sensor = np.eye(4), folder / "sensor.yaml"
    if sensor.is_file():
        tracked = invert(_in_body(read_yaml(sensor), str(sensor)))
    file = folder / "data.csv"
    stamps, poses = [], []
    for number, row in enumerate(columns(file, separator=",")):
        where = f"{file}: entry {number}"
        if len(row) < 8:
            raise InvalidRequest(f"{where}: {len(row)} columns, a timestamp, a position and a quaternion are expected")
        x, y, z, qw, qx, qy, qz = numbers(row[1:8], where)
        if not np.isfinite((x, y, z)).all():
            raise InvalidRequest(f"{where}: a pose holds NaN")
        stamps.append(nanoseconds(row[0], "ns", where, "the format"))
        poses.append(pose_from_quaternion((x, y, z), (qx, qy, qz, qw), where) @ tracked)
    return Trajectory(stamps, poses, str(file))
