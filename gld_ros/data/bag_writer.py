# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Writing rosbag2 (sqlite3 or mcap) without ROS: a posed sequence as the topics a robot would have recorded."""

from __future__ import annotations

import io
import logging
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.rosbag2.errors import WriterError
from rosbags.typesys import Stores, get_typestore
from rosbags.typesys.store import Typestore
from rosbags.typesys.stores import ros2_jazzy as ros

from gld_ros.data.rig import Rig, StampedTransform, camera_topics, optical_frame
from gld_ros.data.sequence import Frame, Sequence
from gld_ros.errors import InvalidRequest
from gld_ros.files import NewFolder
from gld_ros.geometry.cameras import HALF_PIXEL
from gld_ros.geometry.se3 import quaternion_from_matrix
from gld_ros.views import SourceView

log = logging.getLogger(__name__)

STORAGES = {"mcap": StoragePlugin.MCAP, "sqlite3": StoragePlugin.SQLITE3}
JPEG_QUALITY = 92
MASKS_LOST = "image messages have none: what the masks exclude is part of the images there, without depth"
_FOREVER = QosTime(2147483647, 4294967295)


def _qos(latched: bool) -> Qos:
    """Reliable; transient-local with a deep history for what is latched, such as /tf_static."""
    durability = QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE
    return Qos(
        QosHistory.KEEP_LAST, 100, QosReliability.RELIABLE, durability, _FOREVER, _FOREVER, QosLiveliness.AUTOMATIC,
        _FOREVER, False,
    )  # fmt: skip


class BagWriter:
    """A rosbag2 folder to write serialized messages to; a context manager. The folder appears when it is
    closed, and not behind an error.

    types: message definitions of the topics, by default those of ROS 2 Jazzy. Raises InvalidRequest where the folder
    exists or `storage` is unknown.
    """

    def __init__(self, path: str | Path, storage: str = "mcap", types: Typestore | None = None) -> None:
        if storage not in STORAGES:
            raise InvalidRequest(f"storage {storage!r} is unknown, one of {', '.join(STORAGES)} is expected")
        self.types = types or get_typestore(Stores.ROS2_JAZZY)
        self._connections: dict[str, Any] = {}
        if Path(path).exists():
            raise InvalidRequest(f"{path}: the bag cannot be written, it exists already")
        try:
            self._folder = NewFolder(path)
            self._writer = Writer(self._folder.path, version=9, storage_plugin=STORAGES[storage])
            self._writer.open()
        except (WriterError, OSError) as error:
            raise InvalidRequest(f"{path}: the bag cannot be written ({error})") from None

    def __enter__(self) -> BagWriter:
        return self

    def __exit__(self, kind: object, *exc: object) -> None:
        try:
            if kind is None:
                self.close()
            else:
                self._writer.close()
        finally:
            self._folder.drop()

    def close(self) -> None:
        """Finish the files and give the folder its name."""
        self._writer.close()
        self._folder.finish()

    def note(self, key: str, value: str) -> None:
        """Put a line into `custom_data` of metadata.yaml."""
        self._writer.set_custom_data(key, value)

    def write_serialized(self, topic: str, type_name: str, stamp: int, data: bytes, latched: bool = False) -> None:
        """Append one CDR message; stamp in nanoseconds. `latched`: offered transient-local."""
        if topic not in self._connections:
            self._connections[topic] = self._writer.add_connection(
                topic, type_name, typestore=self.types, offered_qos_profiles=[_qos(latched)]
            )
        self._writer.write(self._connections[topic], stamp, data)

    def write(self, topic: str, message: Any, stamp: int, latched: bool = False) -> None:
        """Append one message of `types`."""
        name = message.__msgtype__
        self.write_serialized(topic, name, stamp, bytes(self.types.serialize_cdr(message, name)), latched)


def write_bag(sequence: Sequence, path: str | Path, storage: str = "mcap", compressed: bool = False) -> None:
    """Write `sequence` as Image (or JPEG CompressedImage) + CameraInfo + depth + /tf + /tf_static.

    Depth is 32FC1 in metres, NaN unknown. Raises InvalidRequest where `path` exists or an image cannot be read.
    """
    with BagWriter(path, storage) as writer:
        note_metric(writer, sequence.metric)
        write_frames(writer, sequence, compressed)


def write_frames(writer: BagWriter, sequence: Sequence, compressed: bool = False) -> None:
    """The topics of `write_bag`. Raises InvalidRequest where an image cannot be read."""
    rig, masked = Rig(sequence), 0
    frames = [frame for instant in sequence.instants() for frame in instant]
    writer.write("/tf_static", transforms(rig.static), frames[0].stamp, latched=True)
    for frame in frames:
        masked += write_frame(writer, frame, rig.moving(frame), compressed).mask is not None
    if masked:
        log.warning("%s: %d of %d images have masks; %s", sequence.path, masked, len(frames), MASKS_LOST)


def write_frame(
    writer: BagWriter, frame: Frame, moving: StampedTransform | None, compressed: bool = False
) -> SourceView:
    """Image, CameraInfo and depth of one frame, with a transform of its stamp; returns its pixels."""
    if moving:
        writer.write("/tf", transforms([moving]), frame.stamp)
    topics = camera_topics(frame.camera_name)
    view = frame.view()
    writer.write(topics.camera_info, _camera_info(frame), frame.stamp)
    if compressed:
        writer.write(topics.compressed, _jpeg(frame, view.image), frame.stamp)
    else:
        writer.write(topics.image, image_message(frame, view.image, "rgb8"), frame.stamp)
    if view.depth is not None:
        writer.write(topics.depth, image_message(frame, view.depth, "32FC1"), frame.stamp)
    return view


def note_metric(writer: BagWriter, metric: bool | None) -> None:
    """Note what `Sequence.metric` says, for `read_bag`."""
    writer.note("metric", {True: "true", False: "false", None: "unknown"}[metric])


def header(stamp: int, frame_id: str) -> Any:
    """std_msgs/Header; stamp in nanoseconds."""
    time = ros.builtin_interfaces__msg__Time(sec=stamp // 10**9, nanosec=stamp % 10**9)
    return ros.std_msgs__msg__Header(stamp=time, frame_id=frame_id)


def _image_header(frame: Frame) -> Any:
    return header(frame.stamp, optical_frame(frame.camera_name))


def transforms(items: list[StampedTransform]) -> Any:
    """tf2_msgs/TFMessage."""
    stamped = []
    for item in items:
        translation = ros.geometry_msgs__msg__Vector3(*item.matrix[:3, 3].tolist())
        rotation = ros.geometry_msgs__msg__Quaternion(*quaternion_from_matrix(item.matrix[:3, :3]).tolist())
        transform = ros.geometry_msgs__msg__Transform(translation, rotation)
        stamped.append(ros.geometry_msgs__msg__TransformStamped(header(item.stamp, item.parent), item.child, transform))
    return ros.tf2_msgs__msg__TFMessage(transforms=stamped)


def _camera_info(frame: Frame) -> Any:
    K = frame.camera.K - HALF_PIXEL
    return ros.sensor_msgs__msg__CameraInfo(
        header=_image_header(frame),
        height=frame.camera.height,
        width=frame.camera.width,
        distortion_model="plumb_bob",
        d=np.zeros(5),
        k=K.ravel(),
        r=np.eye(3).ravel(),
        p=np.column_stack([K, np.zeros(3)]).ravel(),
        binning_x=0,
        binning_y=0,
        roi=ros.sensor_msgs__msg__RegionOfInterest(x_offset=0, y_offset=0, height=0, width=0, do_rectify=False),
    )


def image_message(frame: Frame, pixels: np.ndarray, encoding: str) -> Any:
    """sensor_msgs/Image of a frame's camera and stamp."""
    pixels = np.ascontiguousarray(pixels)
    return ros.sensor_msgs__msg__Image(
        header=_image_header(frame),
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding=encoding,
        is_bigendian=0,
        step=pixels.strides[0],
        data=pixels.view(np.uint8).ravel(),
    )


def _jpeg(frame: Frame, pixels: np.ndarray) -> Any:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=JPEG_QUALITY)
    data = np.frombuffer(buffer.getvalue(), np.uint8)
    return ros.sensor_msgs__msg__CompressedImage(_image_header(frame), format="rgb8; jpeg compressed bgr8", data=data)
