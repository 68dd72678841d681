# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""COLMAP's text model of a made scene (https://colmap.github.io/format.html): sparse/0 beside images/.

Names of the images are those of transforms.json. Points have no tracks: nothing was matched.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gld_ros.exports.made_scene import MadeScene
from gld_ros.geometry.cameras import Camera
from gld_ros.geometry.se3 import quaternion_from_matrix
from gld_ros.scene.ply import Points

#: Points at most: a reader holds them all.
MOST = 100_000


def write_colmap(out: Path, scene: MadeScene, points: Points) -> None:
    """sparse/0/cameras.txt, images.txt and points3D.txt. World and unit are those of the scene."""
    folder = out / "sparse/0"
    folder.mkdir(parents=True)
    lenses = {_lens(camera): 0 for camera in scene.cameras}
    lenses = {lens: number for number, lens in enumerate(lenses, start=1)}
    (folder / "cameras.txt").write_text("".join(f"{number} {lens}\n" for lens, number in lenses.items()))
    lines = []
    for k, camera in enumerate(scene.cameras):
        x, y, z, w = quaternion_from_matrix(camera.w2c[:3, :3])
        pose = " ".join(repr(float(value)) for value in (w, x, y, z, *camera.w2c[:3, 3]))
        lines.append(f"{k + 1} {pose} {lenses[_lens(camera)]} {k:03d}.png\n\n")  # the second line: no keypoints
    (folder / "images.txt").write_text("".join(lines))
    chosen = np.arange(len(points.xyz))
    if len(chosen) > MOST:
        chosen = np.sort(np.random.default_rng(0).choice(len(chosen), MOST, replace=False))
    with (folder / "points3D.txt").open("w") as file:
        for number, (xyz, rgb) in enumerate(zip(points.xyz[chosen], points.rgb[chosen], strict=True), start=1):
            file.write(f"{number} {xyz[0]:.6f} {xyz[1]:.6f} {xyz[2]:.6f} {rgb[0]} {rgb[1]} {rgb[2]} 0\n")


def _lens(camera: Camera) -> str:
    K = camera.K
    numbers = (K[0, 0], K[1, 1], K[0, 2], K[1, 2])
    return f"PINHOLE {camera.width} {camera.height} " + " ".join(repr(float(value)) for value in numbers)
