# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Posed pictures and a cloud as one MCAP file, which Foxglove, rerun and `ros2 bag play` open as it is."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rosbags.typesys.stores import ros2_jazzy as ros

from gld_ros.data.bag_writer import BagWriter, header, transforms, write_frames
from gld_ros.data.rig import MAP, StampedTransform
from gld_ros.data.sequence import Frame
from gld_ros.data.sequence import Sequence as PosedSequence
from gld_ros.geometry.se3 import rigid
from gld_ros.scene.ply import Points
from gld_ros.views import SourceView

POINTS_FRAME = "points"  # of clouds whose coordinates are too large for float32
POINT = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("rgb", "<u4"), ("confidence", "<f4"), ("generated", "u1")])
TYPES = {"<f4": 7, "<u4": 7, "|u1": 2}  # of sensor_msgs/PointField; rgb is packed into a float32


def write_scene(path: Path, pictures: Sequence[tuple[str, SourceView]], points: Points) -> None:
    """Write (name, picture) and the cloud to the new file `path`, all at the newest stamp.

    Topics: /NAME/image_raw, /NAME/camera_info, /NAME/depth/image_raw (32FC1, metres) for each picture, /points
    (PointCloud2), /tf and /tf_static from `map` to NAME_optical_frame (REP 103, 105). The cloud is in `map` or, where
    its coordinates are large, in the frame `points`, whose transform is its origin.
    """
    stamp = max(view.stamp for _, view in pictures)
    frames = [_frame(name, view, stamp) for name, view in pictures]
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        bag = Path(folder) / path.stem
        with BagWriter(bag) as writer:
            write_frames(writer, PosedSequence(path.stem, path, frames, metric=None))
            frame_id = MAP
            if points.origin.any():
                frame_id = POINTS_FRAME
                origin = StampedTransform(MAP, frame_id, stamp, rigid(np.eye(3), points.origin))
                writer.write("/tf_static", transforms([origin]), stamp, latched=True)
            writer.write("/points", _cloud(points, stamp, frame_id), stamp)
        (file,) = bag.glob("*.mcap")
        file.replace(path)


def _frame(name: str, view: SourceView, stamp: int) -> Frame:
    depth = view.depth
    return Frame(name, name, stamp, view.camera, lambda: view.image, None if depth is None else lambda: depth)


def _cloud(points: Points, stamp: int, frame_id: str) -> Any:
    """PointCloud2 of the known points, with the fields of gld_node's clouds."""
    known = np.isfinite(points.xyz).all(axis=1)
    table = np.empty(int(known.sum()), POINT)
    table["x"], table["y"], table["z"] = (points.xyz[known] - points.origin).T
    bgra = cv2.cvtColor(np.ascontiguousarray(points.rgb[known])[None], cv2.COLOR_RGB2BGRA) if len(table) else None
    if bgra is not None:
        bgra[..., 3] = 0
        table["rgb"] = bgra.view("<u4")[0, :, 0]
    table["confidence"], table["generated"] = points.confidence[known], np.where(points.generated[known], 255, 0)
    fields = [
        ros.sensor_msgs__msg__PointField(name=name, offset=offset, datatype=TYPES[kind.str], count=1)
        for name, (kind, offset, *_) in (POINT.fields or {}).items()
    ]
    return ros.sensor_msgs__msg__PointCloud2(
        header=header(stamp, frame_id),
        height=1,
        width=len(table),
        fields=fields,
        is_bigendian=False,
        point_step=POINT.itemsize,
        row_step=POINT.itemsize * len(table),
        data=table.view(np.uint8),
        is_dense=True,
    )
