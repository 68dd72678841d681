# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Videos of a made scene, and the masks of what was generated."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gld_ros.exports.made_scene import MadeScene
from gld_ros.extras import require
from gld_ros.reports.pictures import colour_depth, depth_range
from gld_ros.scene.ply import Points

#: Frames a second: those of the released Gen3R's videos.
RATE = 12


def write_video(out: Path, scene: MadeScene, points: Points) -> None:
    """rgb.mp4: the views in their order, H.264."""
    encode(out / "rgb.mp4", (view.image for view in scene.views))


def write_depth_video(out: Path, scene: MadeScene, points: Points) -> None:
    """depth.mp4: depth as colours, bright where it is near, of one range for all views (in report.json)."""
    near, far = depth_range([view.depth for view in scene.views])
    encode(out / "depth.mp4", (colour_depth(view.depth, near, far) for view in scene.views))


def write_masks(out: Path, scene: MadeScene, points: Points) -> None:
    """generated/: for each image that of what the model made up, 255; its name is the image's."""
    (out / "generated").mkdir()
    masks = [np.zeros(source.image.shape[:2], bool) for source in scene.sources]
    for k, mask in enumerate([*masks, *(view.generated for view in scene.views)]):
        Image.fromarray(np.where(mask, 255, 0).astype(np.uint8)).save(out / f"generated/{k:03d}.png")


def encode(path: Path, images: Iterable[np.ndarray]) -> None:
    """An MP4 of images (H, W, 3) uint8 of one size, an odd line or column left out (H.264 has none)."""
    require("scene", "a video")
    import av

    with av.open(str(path), "w") as container:
        stream: Any = None
        for image in images:
            height, width = (n - n % 2 for n in image.shape[:2])
            if stream is None:
                stream = container.add_stream("libx264", rate=RATE)
                stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
                stream.options = {"crf": "18"}
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image[:height, :width]), format="rgb24")
            container.mux(stream.encode(frame))
        if stream is not None:
            container.mux(stream.encode(None))
