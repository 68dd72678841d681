# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""cameras.json: the cameras of a made scene, for programs and for `gld scene --cameras`."""

from __future__ import annotations

import json
from pathlib import Path

from gld_ros.exports.made_scene import MadeScene
from gld_ros.scene.ply import Points


def write_cameras(out: Path, scene: MadeScene, points: Points) -> None:
    """{"convention", "unit", "cameras": [{"name", "width", "height", "K", "c2w"}]}, sources first."""
    cameras = [
        {"name": name, "width": c.width, "height": c.height, "K": c.K.tolist(), "c2w": c.c2w.tolist()}
        for name, c in zip(scene.names, scene.cameras, strict=True)
    ]
    convention = "OpenCV: x right, y down, z forward; K counts from the corner of the first pixel"
    content = {"convention": convention, "unit": scene.unit, "cameras": cameras}
    (out / "cameras.json").write_text(json.dumps(content, indent=1) + "\n")
