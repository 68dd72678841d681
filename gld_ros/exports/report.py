# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""report.json and scene.html of a made scene."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from gld_ros.exports.formats import FORMATS
from gld_ros.exports.made_scene import MadeScene
from gld_ros.reports.cloud_viewer import cloud_viewer
from gld_ros.reports.pages import Part, write_page
from gld_ros.reports.pictures import depth_range
from gld_ros.scene.ply import Points


def write_report(out: Path, scene: MadeScene, points: Points, head: Mapping[str, Any], warnings: Sequence[str]) -> None:
    """head: how it was made. Numbers that are not known are null."""
    scale = scene.views[0].scale
    value = {"value": scale.value, "method": scale.method, "residual": scale.residual}
    known = [np.isfinite(view.depth) for view in scene.views]
    content = {
        **head,
        "views": len(scene.views),
        "unit": scene.unit,
        "scale": {key: None if isinstance(x, float) and not math.isfinite(x) else x for key, x in value.items()},
        "depth_colours": list(depth_range([view.depth for view in scene.views])),
        "generated_share": float(np.mean([view.generated.mean() for view in scene.views])),
        "known_depth_share": float(np.mean([mask.mean() for mask in known])),
        "points": len(points.xyz),
        "points_origin": points.origin.tolist(),
        "points_kept": asdict(scene.keep),
        "notes": list(scene.notes),
        "warnings": list(warnings),
        "files": [*FORMATS, "scene.html", "report.json"],
    }
    (out / "report.json").write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")
    lines = [
        *scene.notes,
        f"{len(scene.views)} views by {head['model']}, path {head['path']}, from {len(scene.sources)} given.",
    ]
    parts = [
        Part(lines=lines),
        Part("Views along the path", picture=out / "sheet.png"),
        Part("Cloud", viewer=cloud_viewer(points, scene.cameras[0])) if len(points.xyz) else Part(),
        Part("Warnings", lines=list(warnings)) if warnings else Part(),
    ]
    write_page(out / "scene.html", "Made scene", parts)
