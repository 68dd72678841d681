# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The real `gld_node` in a process of its own, over real DDS: what cameras cost it, and what a request costs more than
the pipeline (`gld bench node`)."""

from __future__ import annotations

import signal
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from geometry_msgs.msg import TransformStamped, Vector3
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header
from tf2_ros import TransformBroadcaster

from gld_ros.benchmarks.latency import Tick, ignore
from gld_ros.benchmarks.process_use import cpu_seconds
from gld_ros.benchmarks.requests import model_folder
from gld_ros.errors import InvalidRequest
from gld_ros.pipeline.pipeline import GLDPipeline
from gld_ros.pipeline.wall import Wall
from gld_ros.ros.client import Client, ClientError
from gld_ros.ros.conversions import image_to_msg, info_from_camera, matrix_to_pose, ns_to_stamp, stamp_to_ns
from gld_ros.ros.node_memory import NodeMemory
from gld_ros.ros.processes import Processes, own_domain
from gld_ros.srv import SynthesizeViews

NODE = "gld_node"
SPEED = 0.5  # of the robot, m/s: a key frame of each camera every 0.2 s
OFFSET = 0.27  # between neighbouring cameras of the robot, metres
STARTUP, REQUEST = 300.0, 600.0  # time limits, seconds
SAMPLE_EVERY = 0.5  # seconds between two looks at the node's memory


@dataclass(frozen=True)
class NodeRun:
    """What the cameras do and how often the node is asked. frames: images of each camera; size: (H, W) of an image;
    rate: images a second of each camera."""

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
        """Whether the node listens to all topics."""
        publishers = [*self._images, *self._infos, self._tf.pub_tf]
        return all(publisher.get_subscription_count() for publisher in publishers)

    def start(self) -> None:
        self._thread.start()

    def playing(self, patience: float) -> bool:
        """Whether there is more to come; waits for the end so many seconds. Raises what ended the thread early."""
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


def measure(run: NodeRun, tick: Tick = ignore) -> dict[str, Any]:
    """Start the node, play the cameras to the end, ask for views while they are silent, ask the pipeline alone.

    Raises InvalidRequest for what cannot be run, and GLDError with the end of the node's log where it fails.
    """
    run.check()
    own_domain()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the node is ended, too
    limit = time.monotonic() + STARTUP + 2 * run.frames / run.rate + REQUEST * max(run.requests, 1)
    with model_folder(run.model) as model, tempfile.TemporaryDirectory(prefix="gld-bench-") as scratch:
        processes = Processes(Path(scratch), limit)
        client: Client | None = None
        cameras: Cameras | None = None
        rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
        try:
            node = Node("gld_bench")
            client = Client(node, f"/{NODE}", processes.check)
            cameras = Cameras(node, run, tick)
            processes.start(NODE, "gld_ros.ros.node", node_parameters(run, model))
            client.transition("configure", STARTUP)
            client.transition("activate", STARTUP)
            client.wait(cameras.heard, STARTUP, f"subscriptions of {NODE}")
            figures = play(run, client, cameras, processes)
            asked = [ask(run, client, cameras, seed, tick) for seed in range(run.requests)]
            stages = stages_of(client)
        finally:
            if cameras is not None:
                cameras.stop()
            processes.stop()
            if client is not None:
                client.close()
            rclpy.try_shutdown()
        alone = pipeline_alone(run, model, cameras, asked, tick)
    return {"run": vars(run) | {"size": [run.size[1], run.size[0]]}, "cameras": figures} | requests_of(
        asked, alone, stages
    )


def node_parameters(run: NodeRun, model: str) -> dict[str, Any]:
    """All others are the node's defaults, which a robot starts with."""
    topics = {"image_topics": image_topics(run), "camera_info_topics": info_topics(run)}
    return {"model": model, "device": run.device, "max_requests": 1000, **topics}


def play(run: NodeRun, client: Client, cameras: Cameras, processes: Processes) -> dict[str, Any]:
    """All images, with the node's CPU time and memory meanwhile. Raises ProcessError where the node dies."""
    pid = processes.pid(NODE)
    memory = NodeMemory(pid, client)
    cpu, began = cpu_seconds(pid), time.monotonic()
    cameras.start()
    while cameras.playing(min(SAMPLE_EVERY, run.frames / run.rate / 50)):
        processes.check()
        memory.sample(cameras.published)
    wall, busy = time.monotonic() - began, cpu_seconds(pid) - cpu
    for _ in range(2):  # the first may have been under way
        client.wait_for_diagnostics(STARTUP)
    counts = [client.counts.get(f"/{topic}", {}) for topic in image_topics(run)]
    received = sum(count.get("received", 0) for count in counts)
    if not received:
        raise ClientError(f"{NODE} received none of {cameras.published} images; its counts: {client.counts}")
    return {
        "published": cameras.published,
        "received": received,
        "key_frames": sum(count.get("key_frames", 0) for count in counts),
        "dropped": sum(count.get("dropped", 0) for count in counts),
        "rate": run.rate,
        "published_rate": (cameras.published - 1) / run.cameras / cameras.seconds,
        "cpu_s": busy,
        "cpu_s_per_frame": busy / received,
        "core_share": busy / wall,
        **memory.figures(),
    }


@dataclass(frozen=True)
class Asked:
    """One request over DDS. seconds: until the answer was here; node: what the node says of its latency, seconds;
    stamps: of the sources it used; x: where the wanted camera stood."""

    seconds: float
    node: float
    stamps: list[int]
    x: float


def ask(run: NodeRun, client: Client, cameras: Cameras, seed: int, tick: Tick) -> Asked:
    """A view from between the places the robot came by last. Raises ClientError for an error of the node."""
    x = SPEED * run.frames / run.rate - 0.15
    answer, seconds = client.timed_synthesize([cameras.wall.camera(x)], seed, REQUEST)
    if answer.error_code != SynthesizeViews.Response.NONE:
        raise ClientError(f"{NODE} answered error {answer.error_code}: {answer.error_message}")
    tick(None)
    return Asked(seconds, answer.latency, [stamp_to_ns(stamp) for stamp in answer.views[0].source_stamps], x)


def pipeline_alone(run: NodeRun, model: str, cameras: Cameras, asked: list[Asked], tick: Tick) -> list[float]:
    """Seconds of the same requests, same sources, asked of a pipeline in this process."""
    if not asked:
        return []
    pipe = GLDPipeline.from_pretrained(
        model, device=None if run.device == "auto" else run.device, local_files_only=True
    )
    seconds = []
    for seed, request in enumerate([asked[0], *asked], start=-1):  # the first once more, to warm up
        sources = [cameras.wall.view(cameras.places[stamp], stamp) for stamp in request.stamps]
        began = time.perf_counter()
        pipe(sources, [cameras.wall.camera(request.x)], seed=max(seed, 0))
        seconds.append(time.perf_counter() - began)
        tick(None)
    return seconds[1:]


def stages_of(client: Client) -> dict[str, float]:
    """Median milliseconds of each stage of a request, as the node says in its diagnostics."""
    for _ in range(2):  # the first may have been under way
        client.wait_for_diagnostics(STARTUP)
    medians = {name: value.split(" / ")[0] for name, value in client.values.items() if " / " in value}
    return {name.removeprefix("latency_").removesuffix("_s"): 1e3 * float(value) for name, value in medians.items()}


def requests_of(asked: list[Asked], alone: list[float], stages: dict[str, float]) -> dict[str, Any]:
    """Milliseconds, medians and p95: of the answer, of the node, of the pipeline alone, and what is between them."""
    if not asked:
        return {"requests": {"count": 0}}

    def both(values: list[float]) -> list[float]:
        return [1e3 * float(np.percentile(values, q)) for q in (50, 95)]

    overhead = 1e3 * float(np.median([request.seconds - request.node for request in asked]))
    node_ms = both([request.node for request in asked])
    answer_ms, pipeline_ms = both([request.seconds for request in asked]), 1e3 * float(np.median(alone))
    found = {
        "count": len(asked),
        "answer_ms": answer_ms,
        "node_ms": node_ms,
        "overhead_ms": overhead,
        "overhead_share": overhead / node_ms[0],
        "pipeline_ms": pipeline_ms,
        "total_overhead_ms": answer_ms[0] - pipeline_ms,
        "total_overhead_share": answer_ms[0] / pipeline_ms - 1,
        "stages_ms": stages,
    }
    return {"requests": found}
