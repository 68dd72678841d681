# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""From messages to key frames: pairing, poses, decoding. One thread; subscription callbacks only enqueue."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from gld_ros.errors import InvalidRequest, TFError
from gld_ros.ros.conversions import camera_model, image_from_msg, optical_pose, stamp_to_ns
from gld_ros.ros.node.pairing import StampPairing
from gld_ros.ros.node.poses import PendingFrames, PoseSource
from gld_ros.ros.node.shared import Shared
from gld_ros.views import SourceView

RETRY_PERIOD = 0.03  # seconds between two looks for the poses of waiting frames


@dataclass(frozen=True)
class CameraTopics:
    """Resolved names of the topics of one camera."""

    image: str
    info: str


class Intake:
    """Turns what the subscriptions receive into key frames of a context.

    Everything dropped is counted per topic: `dropped_queue_full` (this thread is behind), `dropped_unpaired` (no
    partner of the same stamp), `dropped_no_pose`, `dropped_invalid` (cannot be decoded or used). Frames that are near
    a key frame already are no drops; they count as `redundant`.
    """

    def __init__(self, shared: Shared, cameras: list[CameraTopics], poses: PoseSource) -> None:
        p = shared.parameters
        self._shared, self._poses = shared, poses
        self._context, self._counters, self._warn = shared.key_frames, shared.counters, shared.warn
        self._rectified, self._body_axes = p.rectified, p.camera_axes == "body"
        self._cameras = {camera.image: camera for camera in cameras}
        capacity, slop = p.pending_frames, int(p.pairing_slop * 1e9)
        self._pairing = {
            camera.image: StampPairing(capacity, slop, self._unpaired(camera), self._jumped) for camera in cameras
        }
        self.pending = PendingFrames(poses, capacity, p.tf_timeout, self._no_pose)
        self._frames: dict[str, str] = {}  # camera: frame of its newest key frame
        self._capacity = 2 * capacity * len(cameras)
        self._queue: deque[tuple[str, str, str, Any]] = deque()
        self._wake = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._loop, name="gld_intake", daemon=True)
        self._thread.start()

    def put(self, camera: str, kind: str, topic: str, msg: Any) -> None:
        """Take a message of `topic`: `kind` is "image", "info" or "pose", `camera` its image topic. Never blocks."""
        self._counters.add(topic, "received")
        with self._wake:
            self._queue.append((camera, kind, topic, msg))
            if len(self._queue) > self._capacity:
                _, _, dropped, _ = self._queue.popleft()
                self._counters.add(dropped, "dropped_queue_full")
            self._wake.notify()

    def pose_now(self, camera: str, stamp: int) -> np.ndarray:
        """(4, 4) optical pose of a camera at `stamp` (ns) as it is known now. Raises TFError."""
        return optical_pose(self._poses.pose_now(self._frames.get(camera, ""), stamp), self._body_axes)

    def stop(self, timeout: float) -> bool:
        """End the thread, what waits is forgotten; returns whether it ended within `timeout` seconds."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _loop(self) -> None:
        while not self._stopping:
            with self._wake:
                self._wake.wait_for(lambda: self._queue or self._stopping, RETRY_PERIOD if len(self.pending) else None)
                items, self._queue = self._queue, deque()
            try:
                for item in items:
                    self._take(*item)
                self.pending.timeout = self._shared.parameters.tf_timeout
                for c2w, (camera, image, info) in self.pending.retry():
                    self._keep(camera, c2w, image, info)
            except Exception as error:  # one bad message must not end the intake; the reason is in the log
                self._warn("intake", f"dropped a message after an unexpected {type(error).__name__}: {error}")

    def _take(self, camera: str, kind: str, topic: str, msg: Any) -> None:
        if kind == "pose":
            try:
                self._poses.add(msg)
            except InvalidRequest as error:
                self._invalid(topic, f"'{topic}': {error}")
            return
        stamp = stamp_to_ns(msg.header.stamp)
        if stamp == 0:
            self._invalid(topic, f"'{topic}': the stamp is zero, so no pose can be found for it")
            return
        pair = self._pairing[camera].add(kind, stamp, msg)
        if pair is None:
            return
        image, info = pair
        frame = image.header.frame_id or info.header.frame_id
        if not frame:
            self._invalid(camera, f"'{camera}': neither the image nor its CameraInfo names a frame_id")
            return
        self.pending.push(frame, stamp_to_ns(image.header.stamp), (camera, image, info))

    def _keep(self, camera: str, pose: Any, image: Image | CompressedImage, info: CameraInfo) -> None:
        c2w = optical_pose(pose, self._body_axes)
        stamp = stamp_to_ns(image.header.stamp)
        self._counters.add(camera, "posed")
        if not self._context.wants(camera, c2w, stamp):
            self._counters.add(camera, "redundant")
            return
        try:
            pinhole = camera_model(info, self._rectified, f"'{self._cameras[camera].info}'")
            pixels = pinhole.apply(image_from_msg(image, f"'{camera}'"), f"'{camera}'")
            view = SourceView(pixels, pinhole.camera(c2w).check(f"'{camera}'"), stamp)
        except InvalidRequest as error:
            self._invalid(camera, str(error))
            return
        if self._context.add(camera, view):
            self._frames[camera] = image.header.frame_id or info.header.frame_id
            try:
                self._poses.keep(self._frames[camera], stamp)
            except TFError as error:
                self._warn("odom_frame", f"key frames cannot follow the map frame (parameter odom_frame): {error}")
            self._counters.add(camera, "key_frames")

    def _invalid(self, topic: str, reason: str) -> None:
        self._counters.add(topic, "dropped_invalid")
        self._warn(f"invalid {topic}", reason)

    def _unpaired(self, camera: CameraTopics) -> Callable[[str], None]:
        def dropped(kind: str) -> None:
            topic, other = (camera.image, camera.info) if kind == "image" else (camera.info, camera.image)
            self._counters.add(topic, "dropped_unpaired")
            self._warn(f"unpaired {topic}", f"'{topic}': dropped a message; none of the same stamp came on '{other}'")

        return dropped

    def _no_pose(self, item: tuple[str, Any, Any], reason: str) -> None:
        self._counters.add(item[0], "dropped_no_pose")
        self._warn(f"no pose {item[0]}", f"'{item[0]}': dropped an image: {reason}")

    def _jumped(self) -> None:
        self._warn("jump", "time jumped backwards; dropped pending frames, poses and key frames")
        for pairing in self._pairing.values():
            pairing.clear()
        self.pending.clear()
        self._poses.clear()
        self._context.clear(jump=True)
