# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""scene.glb: cloud and frusta of a made scene, for browsers and 3-D tools (glTF 2.0)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gld_ros.data.sequence import OPENGL_TO_OPENCV
from gld_ros.exports.made_scene import MadeScene
from gld_ros.extras import require
from gld_ros.geometry.points import frustum
from gld_ros.scene.ply import Points

#: Colours of the frusta.
RED, ORANGE = (np.array(colour, np.uint8) for colour in ((220, 40, 40, 255), (255, 140, 0, 255)))
#: Size of a frustum, as a share of the median depth.
SHARE = 0.08


def write_glb(out: Path, scene: MadeScene, points: Points) -> None:
    """Nodes "observed" and "generated" with the points, "sources" and "views" with the frusta.

    glTF has y up: the first source looks along -z, as a viewer does when it opens the file.
    """
    require("scene", "a GLB file")
    import trimesh

    first = scene.cameras[0]
    to_gltf = OPENGL_TO_OPENCV @ first.w2c
    world = trimesh.Scene()
    for name, where in (("observed", ~points.generated), ("generated", points.generated)):
        if where.any():
            xyz = points.xyz[where] @ to_gltf[:3, :3].T + to_gltf[:3, 3]
            world.add_geometry(trimesh.PointCloud(xyz, points.rgb[where]), node_name=name, geom_name=name)
    depths = [view.depth[np.isfinite(view.depth)] for view in scene.views]
    depths = [depth for depth in depths if len(depth)]
    size = SHARE * float(np.median(np.concatenate(depths))) if depths else 0.1
    given, all_cameras = len(scene.sources), scene.cameras
    for name, cameras, colour in (("sources", all_cameras[:given], RED), ("views", all_cameras[given:], ORANGE)):
        edges: list[tuple[np.ndarray, np.ndarray]] = []
        for camera in cameras:
            corners = frustum(camera, size)
            edges += [(camera.center, corner) for corner in corners]
            edges += zip(corners, np.roll(corners, 1, axis=0), strict=True)
        drawn = trimesh.load_path(np.array(edges) @ to_gltf[:3, :3].T + to_gltf[:3, 3])
        drawn.colors = np.tile(colour, (len(drawn.entities), 1))
        world.add_geometry(drawn, node_name=name, geom_name=name)
    world.export(out / "scene.glb")
