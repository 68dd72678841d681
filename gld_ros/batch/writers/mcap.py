# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A rosbag2 (mcap) of views, `views/`: as a robot's own camera would have recorded them, with two topics more.

/CAMERA/confidence/image_raw is 32FC1, 0 to 1; /CAMERA/generated/image_raw is mono8, 255 where the model made it up.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from gld_ros.batch.writers import Shot
from gld_ros.data.bag_writer import BagWriter, image_message, note_metric, write_frame
from gld_ros.data.rig import MAP, StampedTransform, optical_frame
from gld_ros.data.sequence import Frame, Sequence


def write(folder: Path, sequence: Sequence, shots: Iterable[Shot]) -> None:
    """Write the views. Raises what making them raises."""
    with BagWriter(folder / "views") as writer:
        note_metric(writer, sequence.metric)
        for shot in shots:
            _write(writer, shot)


def _write(writer: BagWriter, shot: Shot) -> None:
    view, name, stamp = shot.view, shot.camera_name, shot.stamp
    frame = Frame(name, name, stamp, view.camera, lambda: view.image, lambda: view.depth)
    write_frame(writer, frame, StampedTransform(MAP, optical_frame(name), stamp, view.camera.c2w))
    generated = view.generated.astype(np.uint8) * np.uint8(255)
    # After the depth: a reader takes the first of a camera's 32FC1 topics for that.
    for topic, pixels, encoding in (("confidence", view.confidence, "32FC1"), ("generated", generated, "mono8")):
        writer.write(f"/{name}/{topic}/image_raw", image_message(frame, pixels, encoding), stamp)
