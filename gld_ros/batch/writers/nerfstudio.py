# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A folder of views with transforms.json, `views/`, which nerfstudio and every command here reads.

Each frame has two keys more: `confidence_file_path`, 8-bit PNG, 255 = sure, and `generated_file_path`, 255 where the
model made it up.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from gld_ros.batch.writers import Shot
from gld_ros.data.sequence import Picture, Sequence, write_pictures
from gld_ros.views import SourceView


def write(folder: Path, sequence: Sequence, shots: Iterable[Shot]) -> None:
    """Write the views. Raises what making them raises."""
    write_pictures(folder / "views", (_picture(shot) for shot in shots), sequence.metric)


def _picture(shot: Shot) -> Picture:
    view = shot.view
    confidence = np.rint(255 * view.confidence).astype(np.uint8)
    source = SourceView(view.image, view.camera, shot.stamp, view.depth)
    return Picture(source, shot.camera_name, {"confidence": confidence, "generated": view.generated})
