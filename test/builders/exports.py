# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The rendered room of `datasets` in the layouts of recordings, benchmarks and apps that people bring."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from gld_ros.data.sequence import OPENGL_TO_OPENCV
from gld_ros.geometry.cameras import HALF_PIXEL
from gld_ros.geometry.se3 import invert, pose_from_quaternion, quaternion_from_matrix
from gld_ros.views import SourceView

Views = Sequence[SourceView]

#: Poses of a camera and of a marker in a body, and how far the right camera of a car is from the left one.
IN_BODY = pose_from_quaternion((0.05, -0.02, 0.01), (0.5, -0.5, 0.5, -0.5))
MARKER = pose_from_quaternion((-0.1, 0.03, 0.2), (0.1, 0.2, -0.3, 0.9))
BASELINE = 0.06


def save(file: Path, image: np.ndarray) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(file, **({"quality": 100, "subsampling": 0} if file.suffix == ".jpg" else {}))


def write(file: Path, content: str | list[str] | dict) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, dict):
        content = json.dumps(content)
    file.write_text(content if isinstance(content, str) else "".join(f"{line}\n" for line in content))


def numbers(values: np.ndarray | Sequence[float], separator: str = " ") -> str:
    return separator.join(f"{value:.12g}" for value in np.ravel(values))


def millimetres(depth: np.ndarray, unknown: int = 0) -> np.ndarray:
    return np.where(np.isnan(depth), unknown, np.rint(np.nan_to_num(depth) * 1000)).astype(np.uint16)


def with_hole(view: SourceView) -> SourceView:
    """Depth unknown in a corner."""
    depth = view.depth.copy()
    depth[:9, :7] = np.nan
    return replace(view, depth=depth)


def lens(view: SourceView, half: bool = True) -> list[float]:
    """fx fy cx cy; half: with pixel centres as whole numbers."""
    K = view.camera.K - HALF_PIXEL * half
    return [K[0, 0], K[1, 1], K[0, 2], K[1, 2]]


def sensor_yaml(
    pose: np.ndarray, view: SourceView | None = None, model: str = "radial-tangential", D=(0, 0, 0, 0)
) -> str:
    """In the words of EuRoC; with a view that of a camera."""
    text = f"T_BS:\n  cols: 4\n  rows: 4\n  data: [{numbers(pose, ', ')}]\n"
    if view is None:
        return f"sensor_type: pose\n{text}"
    return (
        f"#Camera\nsensor_type: camera\n{text}resolution: [{view.camera.width}, {view.camera.height}]\n"
        f"camera_model: pinhole\nintrinsics: [{numbers(lens(view), ', ')}] #fu, fv, cu, cv\n"
        f"distortion_model: {model}\ndistortion_coefficients: [{numbers(D, ', ')}]\n"
    )


def euroc(folder: Path, views: Views, truth: str = "state_groundtruth_estimate0") -> Path:
    """One camera; the ground truth tracks a marker, in steps of half a frame."""
    cam, tracked = folder / "mav0/cam0", folder / "mav0" / truth
    write(cam / "sensor.yaml", sensor_yaml(IN_BODY, views[0]))
    write(tracked / "sensor.yaml", sensor_yaml(MARKER))
    images, poses = ["#timestamp [ns],filename"], ["#timestamp, p_RS_R_x [m], ..., q_RS_w [], ..."]
    for view in views:
        save(cam / f"data/{view.stamp}.png", view.image)
        images.append(f"{view.stamp},{view.stamp}.png")
        pose = view.camera.c2w @ invert(IN_BODY) @ MARKER
        x, y, z, w = quaternion_from_matrix(pose[:3, :3])
        poses.append(f"{view.stamp}, {numbers([*pose[:3, 3], w, x, y, z, 0, 0, 0], ', ')}")
    write(cam / "data.csv", images)
    write(tracked / "data.csv", poses)
    return folder


def kitti(folder: Path, views: Views) -> Path:
    """A colour camera to the right of camera 0, whose poses they are. Times are from the first frame on."""
    place = np.eye(4)
    place[0, 3] = BASELINE
    K, sequence = views[0].camera.K - HALF_PIXEL, folder / "sequences/room"
    left, right = (np.c_[K, K @ shift] for shift in (np.zeros(3), np.array([-BASELINE, 0, 0])))
    write(sequence / "calib.txt", [f"P{k}: {numbers(P)}" for k, P in enumerate((left, right, right, right))])
    write(sequence / "times.txt", [f"{(view.stamp - views[0].stamp) / 1e9:e}" for view in views])
    write(folder / "poses/room.txt", [numbers((view.camera.c2w @ invert(place))[:3]) for view in views])
    for number, view in enumerate(views):
        save(sequence / f"image_2/{number:06d}.png", view.image)
    return sequence


def seven_scenes(folder: Path, views: Views) -> Path:
    for number, view in enumerate(views):
        name = f"frame-{number:06d}"
        save(folder / f"{name}.color.png", view.image)
        save(folder / f"{name}.depth.png", millimetres(view.depth, unknown=65535))
        write(folder / f"{name}.pose.txt", ["\t ".join(f"{x:.10e}" for x in row) + "\t " for row in view.camera.c2w])
    return folder


def scannet(folder: Path, views: Views, shrink: int = 1) -> Path:
    """Depth of every `shrink`-th pixel, with a K of its own."""
    K = np.eye(4)
    K[:3, :3] = views[0].camera.K - HALF_PIXEL
    K_depth = K.copy()
    K_depth[:2, :3] = views[0].camera.K[:2] / shrink - HALF_PIXEL[:2]
    for name, matrix in (("intrinsic_color", K), ("intrinsic_depth", K_depth), ("extrinsic_color", np.eye(4))):
        write(folder / f"intrinsic/{name}.txt", [numbers(row) for row in matrix])
    write(folder / "intrinsic/extrinsic_depth.txt", [numbers(row) for row in np.eye(4)])
    for number, view in enumerate(views):
        save(folder / f"color/{number}.jpg", view.image)
        save(folder / f"depth/{number}.png", millimetres(view.depth[shrink // 2 :: shrink, shrink // 2 :: shrink]))
        write(folder / f"pose/{number}.txt", [numbers(row) for row in view.camera.c2w])
    return folder


def polycam(folder: Path, views: Views, shrink: int = 1, corrected: str = "corrected_") -> Path:
    """Depth of every `shrink`-th pixel; the confidence is low where it is unknown."""
    root = folder / "keyframes"
    for view in views:
        name, pose = view.stamp // 1000, view.camera.c2w @ OPENGL_TO_OPENCV
        content = dict(zip(("fx", "fy", "cx", "cy"), lens(view, half=False), strict=True))
        content |= {"width": view.camera.width, "height": view.camera.height, "blur_score": 99.0}
        content |= {f"t_{row}{column}": pose[row, column] for row in range(3) for column in range(4)}
        depth = view.depth[shrink // 2 :: shrink, shrink // 2 :: shrink]
        write(root / f"{corrected}cameras/{name}.json", content)
        save(root / f"{corrected}images/{name}.jpg", view.image)
        save(root / f"depth/{name}.png", millimetres(depth, unknown=1234))
        save(root / f"confidence/{name}.png", np.where(np.isnan(depth), 0, 127).astype(np.uint8))
    return folder


def record3d_metadata(views: Views) -> dict:
    camera = views[0].camera
    poses = []
    for view in views:
        pose = view.camera.c2w @ OPENGL_TO_OPENCV
        poses.append([*quaternion_from_matrix(pose[:3, :3]), *pose[:3, 3]])
    stamps = [view.stamp / 1e9 for view in views]
    content = {"w": camera.width, "h": camera.height, "fps": 10, "K": camera.K.T.ravel().tolist(), "poses": poses}
    content |= {"dw": camera.width, "dh": camera.height, "frameTimestamps": stamps}
    return json.loads(json.dumps(content))


def record3d(folder: Path, views: Views) -> Path:
    """As exported with EXR + JPG."""
    write(folder / "metadata.json", record3d_metadata(views))
    for number, view in enumerate(views):
        save(folder / f"rgb/{number}.jpg", view.image)
        write_exr(folder / f"depth/{number}.exr", view.depth)
    return folder


def write_exr(file: Path, depth: np.ndarray) -> None:
    """(H, W) float32 as the channel R, zlib by 16 lines."""
    height, width = depth.shape

    def attribute(name: str, kind: str, value: bytes) -> bytes:
        return f"{name}\0{kind}\0".encode() + struct.pack("<i", len(value)) + value

    window = struct.pack("<4i", 0, 0, width - 1, height - 1)
    head = struct.pack("<II", 20000630, 2)
    head += attribute("channels", "chlist", b"R\0" + struct.pack("<iIii", 2, 0, 1, 1) + b"\0")
    head += attribute("compression", "compression", b"\3") + attribute("dataWindow", "box2i", window)
    head += attribute("displayWindow", "box2i", window) + attribute("lineOrder", "lineOrder", b"\0") + b"\0"
    chunks, at = [], len(head) + 8 * -(-height // 16)
    for row in range(0, height, 16):
        plain = depth[row : row + 16].astype("<f4").tobytes()
        data = np.frombuffer(plain, np.uint8).astype(np.int64)
        data = np.r_[data[::2], data[1::2]]
        packed = zlib.compress(np.r_[data[:1], np.diff(data) + 128].astype(np.uint8).tobytes())
        part = packed if len(packed) < len(plain) else plain
        chunks.append(struct.pack("<ii", row, len(part)) + part)
    offsets = at + np.cumsum([0, *map(len, chunks[:-1])])
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(head + offsets.astype("<u8").tobytes() + b"".join(chunks))
