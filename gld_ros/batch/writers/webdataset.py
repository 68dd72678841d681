# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A shard of WebDataset, `views.tar`, one for each sequence: a training reads OUT/*/views.tar.

Of every view it has KEY.image.png, KEY.depth.npy (float32 metres, NaN unknown), KEY.confidence.npy (float32, 0 to 1),
KEY.generated.png (255 where the model made it up) and KEY.json (K, c2w, camera, stamp, ...).
"""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from gld_ros.batch.writers import Shot
from gld_ros.data.formats.shards import append, encoded
from gld_ros.data.sequence import Sequence


def write(folder: Path, sequence: Sequence, shots: Iterable[Shot]) -> None:
    """Write the views. Raises what making them raises."""
    with tarfile.open(folder / "views.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
        for number, shot in enumerate(shots):
            # A key ends at its first dot.
            key = f"{re.sub('[./]', '_', sequence.name)}_{number:06d}"
            for ending, content in members(sequence.name, shot).items():
                append(tar, f"{key}.{ending}", content)


def members(name: str, shot: Shot) -> dict[str, bytes]:
    """Files of a view by the end of their names."""
    view, camera = shot.view, shot.view.camera
    about = {
        "sequence": name,
        "camera": shot.camera_name,
        "stamp": shot.stamp,
        "width": camera.width,
        "height": camera.height,
        "K": camera.K.tolist(),
        "c2w": camera.c2w.tolist(),
        "model": view.model,
        "seed": view.seed,
        "source_stamps": list(view.source_stamps),
    }
    return {
        "image.png": encoded(view.image, None),
        "depth.npy": _npy(view.depth),
        "confidence.npy": _npy(view.confidence),
        "generated.png": encoded(view.generated.astype(np.uint8) * np.uint8(255), None),
        "json": json.dumps(about).encode(),
    }


def _npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array.astype(np.float32))
    return stream.getvalue()
