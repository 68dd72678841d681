# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Publishes posed images as a camera driver would: Image or CompressedImage, CameraInfo, depth, TF and /clock."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from geometry_msgs.msg import TransformStamped, Vector3
from PIL import Image as PILImage
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage
from tf2_ros import StaticTransformBroadcaster, TransformBroadcaster

from gld_ros.data.rig import Instant, StampedTransform, optical_frame
from gld_ros.errors import GLDError, InvalidRequest
from gld_ros.ros.conversions import image_to_msg, info_from_camera, matrix_to_pose, ns_to_stamp
from gld_ros.ros.declarations import LATCHED, Endpoint, Table, fixed

JPEG_QUALITY = 92
ACKNOWLEDGE_TIMEOUT = 5.0  # seconds to wait for a subscriber that stalls, before publishing on
# Seconds between the images of one instant: a shared-memory segment of FastDDS (512 KB) does not hold several at once,
# and a best-effort subscriber would lose the first.
SPACING = 0.015
# Deep enough for what DDS has to send again after 3 s, its heartbeat, at 10 Hz.
QOS = QoSProfile(depth=50, reliability=ReliabilityPolicy.RELIABLE)


INTERFACE: Table = {
    "publishes": {
        "NAME/image_raw": Endpoint(Image, "Images, rgb8.", QOS),
        "NAME/image_raw/compressed": Endpoint(CompressedImage, "Images as JPEG, with `compressed`.", QOS),
        "NAME/camera_info": Endpoint(CameraInfo, "Intrinsics; the images are undistorted.", QOS),
        "NAME/depth/image_raw": Endpoint(
            Image, "Depth, 32FC1, metres, if it is known and `publish_depth` is true.", QOS
        ),
        "/tf": Endpoint(TFMessage, "map -> odom -> base_link of the robot; map -> base_link of a sequence."),
        "/tf_static": Endpoint(TFMessage, "base_link -> NAME_optical_frame.", LATCHED),
        "/clock": Endpoint(Clock, "The recorded time, with `stamps: recorded`.", QOS),
    }
}


@dataclass(frozen=True)
class PlayerParameters:
    """The parameters that all camera nodes have; each node adds its own and says at what `rate` it plays."""

    rate: float = fixed(0.0, "instants a second; 0: as their stamps say", (0.0, 1000.0))
    as_fast_as_possible: bool = fixed(False, "ignore the rate: publish as soon as subscribers have acknowledged")
    loop: bool = fixed(False, "start again at the end")
    wait_for_subscribers: int = fixed(
        0, "subscribers that every image topic, CameraInfo topic and /tf must have first", (0, 100)
    )
    settle: float = fixed(0.5, "seconds from finding the subscribers until they have surely found us, too", (0.0, 60.0))
    stamps: str = fixed("now", "now: stamp with the clock; recorded: keep stamps, publish /clock", ("now", "recorded"))
    compressed: bool = fixed(False, "publish JPEG CompressedImage instead of Image")
    publish_depth: bool = fixed(True, "publish depth (32FC1, metres) where it is known")


class PlayerNode(Node):
    """Has a `player`, whose end it outlives: late subscribers still get the latched /tf_static."""

    player: Player

    @property
    def error(self) -> Exception | None:
        """Why the playing failed; None while it did not."""
        return self.player.error

    def close(self) -> None:
        self.player.stop()


class Player:
    """Plays `Instant`s from a thread of its own; the node's executor stays free.

    instants: () -> the instants of one pass. static: transforms that never change.
    """

    def __init__(
        self,
        node: Node,
        parameters: PlayerParameters,
        camera_names: list[str],
        static: list[StampedTransform],
        instants: Callable[[], Iterable[Instant]],
    ) -> None:
        self._node, self._parameters, self._instants = node, parameters, instants
        self._recorded = parameters.stamps == "recorded"
        self._publishers = {
            (name, kind): node.create_publisher(INTERFACE["publishes"][topic].type, topic.replace("NAME", name), QOS)
            for name in camera_names
            for kind, topic in (
                ("image", "NAME/image_raw/compressed" if parameters.compressed else "NAME/image_raw"),
                ("info", "NAME/camera_info"),
                *([("depth", "NAME/depth/image_raw")] if parameters.publish_depth else []),
            )
        }
        self._clock = node.create_publisher(Clock, "/clock", QOS) if self._recorded else None
        self._broadcaster = TransformBroadcaster(node)
        self._static_broadcaster = StaticTransformBroadcaster(node)
        now = node.get_clock().now().nanoseconds
        self._static_broadcaster.sendTransform(
            [_transform(item, item.stamp if self._recorded else now) for item in static]
        )
        self._stop = threading.Event()
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="player", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the playing and wait for the thread."""
        self._stop.set()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        try:
            if not self._subscribed():
                return
            self._node.get_logger().info("the camera plays")
            while not self._stop.is_set():
                count = self._pass()
                if not self._stop.is_set():
                    self._node.get_logger().info(f"played {count} instants")
                if not self._parameters.loop or count == 0:
                    break
        except GLDError as error:
            self.error = error
            self._node.get_logger().error(f"{error.code}: {error}")
        except Exception as error:  # publishing fails when the context is shut down under this thread
            if not self._stop.is_set() and self._node.context.ok():
                self.error = error
                raise

    def _subscribed(self) -> bool:
        """Wait for the subscribers asked for; False when stopped meanwhile."""
        needed = [publisher for (_, kind), publisher in self._publishers.items() if kind != "depth"]
        needed.append(self._broadcaster.pub_tf)
        if count := self._parameters.wait_for_subscribers:
            self._node.get_logger().info(f"waiting for {count} subscriber(s) of {needed[0].topic_name}")
        while not self._stop.is_set():
            if all(publisher.get_subscription_count() >= count for publisher in needed):
                return not self._stop.wait(self._parameters.settle)
            self._stop.wait(0.05)
        return False

    def _pass(self) -> int:
        rate, previous, due, count = self._parameters.rate, 0, time.monotonic(), 0
        for instant in self._instants():
            if self._parameters.as_fast_as_possible:
                for publisher in self._publishers.values():
                    publisher.wait_for_all_acked(Duration(seconds=ACKNOWLEDGE_TIMEOUT))
            else:
                step = 1 / rate if rate else (instant.stamp - (previous or instant.stamp)) / 1e9
                due = max(due + step, time.monotonic() - 1.0)  # after a stall, do not catch up in one burst
                previous = instant.stamp
                self._stop.wait(max(0.0, due - time.monotonic()))
            if self._stop.is_set():
                break
            self._publish(instant)
            count += 1
        return count

    def _publish(self, instant: Instant) -> None:
        stamp = instant.stamp if self._recorded else self._node.get_clock().now().nanoseconds
        if self._clock:
            self._clock.publish(Clock(clock=ns_to_stamp(stamp)))
        if instant.transforms:
            self._broadcaster.sendTransform([_transform(item, stamp) for item in instant.transforms])
        for index, (name, view) in enumerate(instant.views):
            if index:
                self._stop.wait(SPACING)
            header = Header(stamp=ns_to_stamp(stamp), frame_id=optical_frame(name))
            self._publishers[name, "info"].publish(info_from_camera(view.camera, header))
            compressed = self._parameters.compressed
            image = _jpeg(view.image, header) if compressed else image_to_msg(view.image, "rgb8", header)
            self._publishers[name, "image"].publish(image)
            if self._parameters.publish_depth and view.depth is not None:
                self._publishers[name, "depth"].publish(image_to_msg(view.depth, "32FC1", header))


def _transform(item: StampedTransform, stamp: int) -> TransformStamped:
    message = TransformStamped(header=Header(stamp=ns_to_stamp(stamp), frame_id=item.parent), child_frame_id=item.child)
    pose = matrix_to_pose(item.matrix)
    message.transform.translation = Vector3(x=pose.position.x, y=pose.position.y, z=pose.position.z)
    message.transform.rotation = pose.orientation
    return message


def _jpeg(image: np.ndarray, header: Header) -> CompressedImage:
    buffer = io.BytesIO()
    PILImage.fromarray(image).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return CompressedImage(header=header, format="rgb8; jpeg compressed bgr8", data=buffer.getvalue())


def frame_numbers(text: str) -> set[int]:
    """The numbers of the parameter hold_out, like "2,4,6". Raises InvalidRequest for other text."""
    try:
        return {int(part) for part in text.split(",") if part.strip()}
    except ValueError:
        raise InvalidRequest(f"parameter hold_out is '{text}', expected frame numbers like 2,4,6") from None
