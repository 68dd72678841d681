# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The real `gld_node` in a process of its own with cameras that drive along a wall, its CPU time and its memory."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import rclpy
from geometry_msgs.msg import TransformStamped, Vector3
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header
from tf2_ros import TransformBroadcaster

from gld_ros.benchmarks.latency import Tick, ignore
from gld_ros.benchmarks.process_use import Slope, cpu_seconds, private_bytes, robust_slope
from gld_ros.benchmarks.requests import Wall
from gld_ros.errors import InvalidRequest
from gld_ros.ros.client import ClientError, GLDClient
from gld_ros.ros.conversions import image_to_msg, info_from_camera, matrix_to_pose, ns_to_stamp
from gld_ros.ros.demo.processes import Processes, own_domain

NODE = "gld_node"
SPEED = 0.5  # of the robot, m/s: a key frame of each camera every 0.2 s
OFFSET = 0.27  # between neighbouring cameras of the robot, metres
STARTUP, REQUEST = 300.0, 600.0  # time limits, seconds


@dataclass(frozen=True)
class NodeRun:
    """A load: the cameras' images and the requests to the node. frames: images of each camera; size: (H, W) of an
    image; rate: images a second of each camera."""

    model: str = "mini"
    device: str = "auto"
    frames: int = 10_000
    cameras: int = 1
    size: tuple[int, int] = (720, 1280)
    rate: float = 30.0
    requests: int = 20

    def check(self) -> None:
        """Raise InvalidRequest for what cannot be run."""
        limits = {"cameras": (1, 4), "frames": (12, 10_000_000), "requests": (0, 100_000), "rate": (0.1, 1000)}
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:
                raise InvalidRequest(f"--{name} is {getattr(self, name)}, expected {low} to {high}")
        if not (16 <= self.size[0] <= 1080 and 16 <= self.size[1] <= 1920):
            raise InvalidRequest(f"--size is {self.size[1]}x{self.size[0]}, expected 16x16 to 1920x1080")


class Cameras:
    """Cameras side by side on a robot that drives along a wall; a thread publishes images, CameraInfo and TF.

    Their images are spread over the period, as those of cameras that nobody synchronises. `published`: images of all
    cameras so far; `places`: x of the image of a stamp; `seconds`: from the first to the newest of them.
    """

    def __init__(self, node: Node, run: NodeRun, tick: Tick) -> None:
        self._node, self._run, self._tick = node, run, tick
        self.wall = Wall(run.size)
        qos = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._images = [node.create_publisher(Image, f"/{topic}", qos) for topic in image_topics(run)]
        self._infos = [node.create_publisher(CameraInfo, f"/{topic}", qos) for topic in info_topics(run)]
        self._tf = TransformBroadcaster(node)
        self.published = 0
        self.seconds = 0.0
        self.places: dict[int, float] = {}
        self.error: Exception | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._play, name="cameras", daemon=True)

    def heard(self) -> bool:
        """True if the node listens to all topics."""
        publishers = [*self._images, *self._infos, self._tf.pub_tf]
        return all(publisher.get_subscription_count() for publisher in publishers)

    def start(self) -> None:
        self._thread.start()

    def playing(self, patience: float) -> bool:
        """True if there is more to come; waits for the end so many seconds. Raises what ended the thread early."""
        self._thread.join(patience)
        if self.error is not None:
            raise self.error
        return self._thread.is_alive()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)

    def _play(self) -> None:
        try:
            due = began = time.monotonic()
            for frame in range(self._run.frames):
                for camera in range(self._run.cameras):
                    self._stop.wait(max(0.0, due - time.monotonic()))
                    if self._stop.is_set():
                        return
                    self._publish(camera, SPEED * frame / self._run.rate + OFFSET * camera)
                    self.seconds = time.monotonic() - began
                    due += 1 / (self._run.rate * self._run.cameras)
                self._tick(None)
        except Exception as error:  # told by `playing`, in the thread that waits
            self.error = error

    def _publish(self, camera: int, x: float) -> None:
        stamp = time.time_ns()
        view = self.wall.view(x, stamp)
        frame = f"camera{camera}_optical_frame"
        header = Header(stamp=ns_to_stamp(stamp), frame_id=frame)
        pose = matrix_to_pose(view.camera.c2w)
        transform = TransformStamped(header=Header(stamp=header.stamp, frame_id="map"), child_frame_id=frame)
        transform.transform.translation = Vector3(x=pose.position.x, y=pose.position.y, z=pose.position.z)
        transform.transform.rotation = pose.orientation
        self._tf.sendTransform(transform)
        self._infos[camera].publish(info_from_camera(view.camera, header))
        self._images[camera].publish(image_to_msg(view.image, "rgb8", header))
        self.places[stamp] = x
        self.published += 1


def image_topics(run: NodeRun) -> list[str]:
    """One a camera."""
    return [f"camera{k}/image_raw" for k in range(run.cameras)]


def info_topics(run: NodeRun) -> list[str]:
    """One a camera."""
    return [f"camera{k}/camera_info" for k in range(run.cameras)]


def node_parameters(run: NodeRun, model: str) -> dict[str, Any]:
    """All others are the node's defaults, which a robot starts with."""
    topics = {"image_topics": image_topics(run), "camera_info_topics": info_topics(run)}
    return {"model": model, "device": run.device, "max_requests": 1000, **topics}


def activate(client: GLDClient) -> None:
    """Configure and activate the node. Raises ClientError."""
    client.transition("configure", STARTUP)
    client.transition("activate", STARTUP)


@contextmanager
def running_node(
    run: NodeRun,
    name: str,
    model: str,
    logs: str,
    tick: Tick = ignore,
    module: str = "gld_ros.ros.node.node",
    activated: Callable[[GLDClient], None] = activate,
) -> Iterator[tuple[GLDClient, Cameras, Processes]]:
    """The active node, and in this process the node `name` with a client and with cameras that it hears.

    logs: folder of the node's log; module: whose main() is the node; activated: returns once it is
    active. All ends with the context. Raises GLDError with the log's end where the node fails.
    """
    own_domain()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the node is ended, too
    limit = time.monotonic() + STARTUP + 2 * run.frames / run.rate + REQUEST * max(run.requests, 1)
    processes = Processes(Path(logs), limit)
    client: GLDClient | None = None
    cameras: Cameras | None = None
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    try:
        client = GLDClient(f"/{NODE}", Node(name), processes.check)
        cameras = Cameras(client.node, run, tick)
        processes.start(NODE, module, node_parameters(run, model) | {"autostart": activated is not activate})
        activated(client)
        client.wait(cameras.heard, STARTUP, f"subscriptions of {NODE}")
        yield client, cameras, processes
    finally:
        if cameras is not None:
            cameras.stop()
        processes.stop()
        if client is not None:
            client.close()
        rclpy.try_shutdown()


MEMORY = ("private_bytes", "heap_bytes", "python_blocks")


class NodeMemory:
    """Samples of process `pid`: its private memory, and what its diagnostics say of heap and Python objects."""

    def __init__(self, pid: int, client: GLDClient) -> None:
        self._pid, self._client = pid, client
        self._samples: list[tuple[int, ...]] = []

    def sample(self, images: int) -> None:
        """To be called now and then; images: published so far. Nothing before the first diagnostics."""
        said = [self._client.values.get(name) for name in MEMORY[1:]]
        if None not in said:
            self._samples.append((images, private_bytes(self._pid), *(int(value or 0) for value in said)))

    def figures(self) -> dict[str, Any]:
        """Resident bytes at the end, the samples in columns, and their slopes an image over the second half, when the
        context is full; None for too few samples, and of what the node's malloc does not tell."""
        columns = dict(zip(("images", *MEMORY), zip(*self._samples, strict=True), strict=False))
        return {
            "memory_bytes": psutil.Process(self._pid).memory_info().rss,
            "memory": columns,
            "memory_slopes": {name: self._slope(columns.get(name)) for name in MEMORY},
        }

    def _slope(self, values: tuple[int, ...] | None) -> Slope | None:
        second = len(self._samples) // 2
        images = [sample[0] for sample in self._samples[second:]]
        if values is None or not any(values) or len(set(images)) < 3:
            return None
        return robust_slope(np.array(images, dtype=np.float64), np.array(values[second:], dtype=np.float64))


def play(
    run: NodeRun,
    client: GLDClient,
    cameras: Cameras,
    processes: Processes,
    period: float,
    meanwhile: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """All images, with the node's CPU time and memory; every `period` seconds `meanwhile` is called.

    Raises ProcessError where the node dies, and ClientError where it received no image.
    """
    pid = processes.pid(NODE)
    memory = NodeMemory(pid, client)
    cpu, began = cpu_seconds(pid), time.monotonic()
    cameras.start()
    while cameras.playing(period):
        processes.check()
        memory.sample(cameras.published)
        meanwhile()
    wall, busy = time.monotonic() - began, cpu_seconds(pid) - cpu
    for _ in range(2):  # the first may have been under way
        client.wait_for_diagnostics(STARTUP)
    counts = [client.counts.get(f"/{topic}", {}) for topic in image_topics(run)]
    sums = {name: sum(count.get(name, 0) for count in counts) for name in ("received", "key_frames", "dropped")}
    if not sums["received"]:
        raise ClientError(f"{NODE} received none of {cameras.published} images; its counts: {client.counts}")
    return {
        "published": cameras.published,
        **sums,
        "rate": run.rate,
        "published_rate": (cameras.published - 1) / run.cameras / cameras.seconds,
        "seconds": wall,
        "cpu_s": busy,
        "cpu_s_per_frame": busy / sums["received"],
        "core_share": busy / wall,
        **memory.figures(),
    }
