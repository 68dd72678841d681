# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""One rendered room, written in every format that is read: the numbers of each are known."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from builders import exports
from gld_ros.data.bag_writer import write_bag
from gld_ros.data.formats.shards import write_shards
from gld_ros.data.rooms import Room, random_room
from gld_ros.data.scenes import Scenes, open_scenes
from gld_ros.data.sequence import open_sequence, write_folder
from gld_ros.geometry.cameras import HALF_PIXEL, Camera
from gld_ros.geometry.se3 import look_at, quaternion_from_matrix
from gld_ros.views import SourceView

SEED, COUNT, WIDTH, HEIGHT = 4, 6, 80, 60
K = np.array([[70.0, 0, 41.5], [0, 66.0, 28.75], [0, 0, 1]])
FIRST_TIME = 1_300_000_000_000_000_000  # ns


@lru_cache(maxsize=1)
def room() -> Room:
    return random_room(SEED)


@lru_cache(maxsize=1)
def rendered() -> tuple[SourceView, ...]:
    """Views of the room 0.1 s apart, with an off-centre lens of unequal focal lengths; depth in whole 0.2 mm."""
    cameras = [Camera(K, c2w, WIDTH, HEIGHT) for c2w in room().trajectory(COUNT, SEED, step=0.1)]
    images, depths = room().render(cameras)
    depths = np.rint(depths * 5000) / np.float32(5000)
    return tuple(
        SourceView(image, camera, FIRST_TIME + k * 100_000_000, depth.astype(np.float32))
        for k, (image, camera, depth) in enumerate(zip(images, cameras, depths, strict=True))
    )


def make_views(count: int = 4, width: int = 24, height: int = 18, stamp: int = 5_000_000_000) -> list[SourceView]:
    """Views of noise with known poses and depth in whole millimetres, NaN in a corner; 0.1 s apart."""
    rng = np.random.default_rng(7)
    K = np.array([[20.0, 0, 11.3], [0, 21.0, 9.4], [0, 0, 1]])
    views = []
    for index in range(count):
        c2w = look_at(np.array([0.1 * index, 0.02 * index, 1.0]), np.array([3.0, 0.2, 0.8 - 0.1 * index]))
        depth = (rng.integers(500, 5000, (height, width)) / 1000).astype(np.float32)
        depth[:3, :3] = np.nan
        image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        views.append(SourceView(image, Camera(K, c2w, width, height), stamp + index * 100_000_000, depth))
    return views


def as_re10k(folder: Path) -> Scenes:
    (folder / "cameras").mkdir(parents=True)
    (folder / "frames/room").mkdir(parents=True)
    lines = ["https://example.org/video"]
    for view in rendered():
        time = view.stamp // 1000
        Image.fromarray(view.image).save(folder / f"frames/room/{time}.png")
        lines.append(" ".join([str(time), *(f"{number:.12f}" for number in shares(view.camera))]))
    (folder / "cameras/room.txt").write_text("\n".join(lines) + "\n")
    return open_scenes(f"re10k:{folder}/cameras?frames={folder}/frames")


def shares(camera: Camera) -> list[float]:
    """The 18 numbers of RealEstate10K."""
    (fx, _, cx), (_, fy, cy), _ = camera.K
    lens = [fx / camera.width, fy / camera.height, cx / camera.width, cy / camera.height, 0, 0]
    return [*lens, *camera.w2c[:3].ravel()]


def as_pixelsplat(folder: Path, index: bool = True) -> Scenes:
    folder.mkdir(parents=True)
    torch.save([chunk_scene()], folder / "000000.torch")
    if index:
        (folder / "index.json").write_text(json.dumps({"room": "000000.torch"}))
    return open_scenes(f"pixelsplat:{folder}")


def chunk_scene(key: str = "room") -> dict:
    images = []
    for view in rendered():
        stream = io.BytesIO()
        Image.fromarray(view.image).save(stream, "JPEG", quality=100, subsampling=0)
        images.append(torch.frombuffer(bytearray(stream.getvalue()), dtype=torch.uint8))
    cameras = torch.tensor([shares(view.camera) for view in rendered()], dtype=torch.float32)
    times = torch.tensor([view.stamp // 1000 for view in rendered()])
    return {"key": key, "url": "", "timestamps": times, "cameras": cameras, "images": images}


def as_folder(folder: Path) -> Scenes:
    write_folder(folder / "room/nerfstudio", rendered(), depth_unit=0.0002)
    return open_scenes(f"dl3dv:{folder}")


def as_bag(folder: Path) -> Scenes:
    write_folder(folder / "sequence", rendered(), depth_unit=0.0002)
    write_bag(open_sequence(folder / "sequence"), folder / "bags/room")
    return open_scenes(f"rosbag2:{folder}/bags")


def as_demo(folder: Path) -> Scenes:
    images = folder / "room/nerfstudio/images_4"
    images.mkdir(parents=True)
    for k, view in enumerate(rendered()):
        Image.fromarray(view.image).save(images / f"frame_{k:05d}.png")
        camera = view.camera
        np.savez(
            images / f"frame_{k:05d}.npz", intrinsic=camera.K.astype(np.float32), pose=camera.c2w.astype(np.float32)
        )
    (folder / "room/nerfstudio/transforms.json").write_text('{"frames":[]}')
    return open_scenes(f"gld-demo:{folder}")


def as_tum(folder: Path) -> Scenes:
    scene = folder / "room"
    for name in ("rgb", "depth"):
        (scene / name).mkdir(parents=True)
    fx, fy, cx, cy = (K - HALF_PIXEL)[[0, 1, 0, 1], [0, 1, 2, 2]]
    (scene / "calibration.txt").write_text(f"{fx} {fy} {cx} {cy}\n")
    lists = {name: ["# made up"] for name in ("rgb", "depth", "groundtruth")}
    for view in rendered():
        seconds = view.stamp / 1e9
        Image.fromarray(view.image).save(scene / f"rgb/{seconds:.6f}.png")
        Image.fromarray(np.rint(view.depth * 5000).astype(np.uint16)).save(scene / f"depth/{seconds:.6f}.png")
        lists["rgb"].append(f"{seconds:.6f} rgb/{seconds:.6f}.png")
        lists["depth"].append(f"{seconds + 0.004:.6f} depth/{seconds:.6f}.png")
        numbers = [*view.camera.center, *quaternion_from_matrix(view.camera.c2w[:3, :3])]
        lists["groundtruth"].append(" ".join([f"{seconds:.6f}", *(f"{number:.9f}" for number in numbers)]))
    for name, lines in lists.items():
        (scene / f"{name}.txt").write_text("\n".join(lines) + "\n")
    return open_scenes(f"tum:{folder}")


def as_colmap(folder: Path) -> Scenes:
    scene = folder / "room"
    (scene / "images").mkdir(parents=True)
    (scene / "sparse/0").mkdir(parents=True)
    (fx, _, cx), (_, fy, cy), _ = rendered()[0].camera.K
    (scene / "sparse/0/cameras.txt").write_text(f"1 PINHOLE {WIDTH} {HEIGHT} {fx} {fy} {cx} {cy}\n")
    lines = []
    for k, view in enumerate(rendered()):
        Image.fromarray(view.image).save(scene / f"images/{k}.png")
        x, y, z, w = quaternion_from_matrix(view.camera.w2c[:3, :3])
        lines += [" ".join(map(str, (k + 1, w, x, y, z, *view.camera.w2c[:3, 3], 1, f"{k}.png"))), ""]
    (scene / "sparse/0/images.txt").write_text("\n".join(lines) + "\n")
    return open_scenes(f"colmap:{folder}")


def as_shards(folder: Path) -> Scenes:
    write_shards(as_folder(folder / "folders"), folder / "shards", quality=None)
    return open_scenes(f"shards:{folder}/shards")


EXPORTS = ("euroc", "kitti", "7scenes", "scannet", "polycam", "record3d")


def write_export(kind: str, folder: Path, views: Sequence[SourceView] | None = None) -> tuple[Path, str]:
    """A recording of the room in `folder`, and how commands are told of it: its path, where its files say the kind."""
    views = rendered() if views is None else views
    path = getattr(exports, kind.replace("7scenes", "seven_scenes"))(folder / "room", views)
    lens = ",".join(map(str, exports.lens(views[0], half=False)))
    return path, f"7scenes:{path}?intrinsics=[{lens}]&depth_intrinsics=[{lens}]" if kind == "7scenes" else str(path)


def _export(kind: str) -> Callable[[Path], Scenes]:
    def make(folder: Path) -> Scenes:
        path, told = write_export(kind, folder)
        return open_scenes(told.replace(str(path), str(path.parent)) if kind == "7scenes" else f"{kind}:{path.parent}")

    return make


FORMATS = {
    "re10k": as_re10k,
    "pixelsplat": as_pixelsplat,
    "dl3dv": as_folder,
    "colmap": as_colmap,
    "rosbag2": as_bag,
    "gld-demo": as_demo,
    "tum": as_tum,
    "shards": as_shards,
    **{kind: _export(kind) for kind in EXPORTS},
}
WITH_DEPTH = ("dl3dv", "rosbag2", "tum", "shards", "7scenes", "scannet", "polycam", "record3d")
LOSSY = ("pixelsplat", "scannet", "polycam", "record3d")  # JPEG
