# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The formats of a made scene. A new one is one file with a function and one line here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gld_ros.data.scene_file import write_scene
from gld_ros.data.sequence import write_folder
from gld_ros.exports.camera_file import write_cameras
from gld_ros.exports.colmap import write_colmap
from gld_ros.exports.glb import write_glb
from gld_ros.exports.made_scene import MadeScene
from gld_ros.exports.sheet import write_sheet
from gld_ros.exports.video import write_depth_video, write_masks, write_video
from gld_ros.scene.ply import Points, write_ply
from gld_ros.views import SourceView

#: (folder, scene, its cloud): writes files.
Export = Callable[[Path, MadeScene, Points], None]


def write_nerfstudio(out: Path, scene: MadeScene, points: Points) -> None:
    """transforms.json with images/ and depth/, which nerfstudio and this package read; "camera" says source or view."""
    views = [SourceView(view.image, view.camera, depth=view.depth) for view in scene.views]
    names = ["source"] * len(scene.sources) + ["view"] * len(views)
    write_folder(out, [*scene.sources, *views], names, scene.unit == "m")


def write_cloud(out: Path, scene: MadeScene, points: Points) -> None:
    """points.ply with confidence, and a mark at generated points."""
    write_ply(out / "points.ply", points)


def write_mcap(out: Path, scene: MadeScene, points: Points) -> None:
    """scene.mcap for Foxglove and rerun."""
    views = [SourceView(view.image, view.camera, depth=view.depth) for view in scene.views]
    write_scene(out / "scene.mcap", list(zip(scene.names, [*scene.sources, *views], strict=True)), points)


#: The files that each leaves, and the function. The folders of images come first: others refer to them.
FORMATS: dict[str, Export] = {
    "transforms.json, images/, depth/": write_nerfstudio,
    "generated/": write_masks,
    "sparse/0/*.txt": write_colmap,
    "cameras.json": write_cameras,
    "points.ply": write_cloud,
    "scene.glb": write_glb,
    "scene.mcap": write_mcap,
    "rgb.mp4": write_video,
    "depth.mp4": write_depth_video,
    "sheet.png": write_sheet,
}


def export(out: Path, scene: MadeScene) -> Points:
    """Write a scene in every format; returns its cloud. Raises InvalidRequest without the extra `scene`."""
    points = scene.points()
    for write in FORMATS.values():
        write(out, scene, points)
    return points
