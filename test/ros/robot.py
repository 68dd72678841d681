# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A test's robot: a camera with TF and a client of gld_node; and gld_node, in this process or in one of its own."""

import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
from dds import PATIENCE, Client, logged_by
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped, TransformStamped
from rclpy.executors import SingleThreadedExecutor
from std_msgs.msg import Header
from tf2_ros import TransformBroadcaster

from gld_ros.data.rooms import random_room
from gld_ros.geometry.cameras import Camera
from gld_ros.ros import conversions
from gld_ros.ros.node import guards, node
from gld_ros.ros.node.session import load

SCRIPT = Path(__file__).parents[2] / "scripts" / "gld_node"
K = np.array([[110.0, 0, 96], [0, 110, 72], [0, 0, 1]])


def node_arguments(parameters):
    """ROS arguments of these parameters; `__ns`, `__node` and names of topics with a slash first remap."""
    arguments = ["--ros-args"]
    for name, value in {"diagnostics_period": 0.1, **parameters}.items():
        arguments += ["-r" if name.startswith(("__", "/")) else "-p", f"{name}:={value}"]
    return arguments


class NodeProcess:
    """gld_node as a process; `log` is all it wrote so far."""

    def __init__(self, log_file: Path, **parameters):
        self._log_file = log_file
        with log_file.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, SCRIPT, *node_arguments(parameters)], stdout=log, stderr=subprocess.STDOUT
            )

    @property
    def log(self):
        return self._log_file.read_text()

    def stop(self, signal_number=signal.SIGINT):
        """Returns the exit status."""
        self.process.send_signal(signal_number)
        try:
            return self.process.wait(timeout=30)
        finally:
            self.process.kill()


PIPELINES = []  # [pipeline of mini, thread that uses it]


def load_once(parameters):
    """In the place of the node's own `load`: mini that is warm already, one for each worker that lives."""
    if parameters.model != "mini":
        return load(parameters)
    me = threading.current_thread()
    for entry in PIPELINES:
        if entry[1] is me or not entry[1].is_alive():
            entry[1] = me
            entry[0].forget()
            return entry[0]
    PIPELINES.append([load(parameters), me])
    return PIPELINES[-1][0]


class NodeThread:
    """gld_node in this process, spun by a thread, with mini; `log` is all it logged so far."""

    def __init__(self, autostart=True, **parameters):
        self._began = time.monotonic()
        self.node = node.GLDNode(cli_args=node_arguments(parameters))
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        if autostart:
            self.node.autostart()
        self._thread = threading.Thread(target=guards.spin, args=(self._executor, self.node), daemon=True)
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        assert self.stop(), self.log

    def hears_and_is_heard(self, *topics):
        """A condition: each of its endpoints on these topics, and there is one on each, knows another node's."""
        topics = {self.node.resolve_topic_name(topic) for topic in topics}

        def matched():
            counts = {p.topic_name: p.get_subscription_count() for p in self.node.publishers if p.topic_name in topics}
            counts |= {s.topic_name: s.get_publisher_count() for s in self.node.subscriptions if s.topic_name in topics}
            return counts.keys() == topics and all(counts.values())

        return matched

    @property
    def log(self):
        return logged_by(self.node, self._began)

    def stop(self):
        """Whether it ended in time, and no callback failed."""
        self._executor.shutdown(timeout_sec=PATIENCE)
        self._thread.join(PATIENCE)
        ended = self.node.close() and not self._thread.is_alive()
        self.node.destroy_node()
        return ended and "unexpected" not in self.log


class Robot(Client):
    """A client with a camera and TF."""

    camera_frame, map_frame = "camera", "map"

    def __init__(self, name="robot", namespace="/"):
        self.target = f"{namespace.rstrip('/')}/gld_node"
        self._diagnostics = []
        super().__init__(name, namespace)
        self.tf = TransformBroadcaster(self.node)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._diagnostics.append, 10)
        self.room = room = random_room(3)
        start = room.trajectory(40, seed=1)
        self.cameras = [Camera(K, c2w, 192, 144) for c2w in start[:12:2]]
        self.pictures, self.depths = room.render(self.cameras)

    def now(self):
        """Of the robot's clock, ns."""
        return time.time_ns()

    def transforms(self, index, header):
        """The TF by which the camera of `header` is at its index-th pose."""
        return [self.transform(self.cameras[index].c2w, header.stamp, self.map_frame, header.frame_id)]

    def transform(self, matrix, stamp, parent, child):
        pose = conversions.matrix_to_pose(matrix)
        transform = TransformStamped(header=Header(stamp=stamp, frame_id=parent), child_frame_id=child)
        p = pose.position
        transform.transform.translation.x, transform.transform.translation.y = p.x, p.y
        transform.transform.translation.z = p.z
        transform.transform.rotation = pose.orientation
        return transform

    def send(self, index, frame=None, with_tf=True, with_info=True, image=None, info=None):
        """Publish one frame as a camera driver does, with TF before it; returns its stamp in ns."""
        stamp = self.now()
        header = Header(stamp=conversions.ns_to_stamp(stamp), frame_id=self.camera_frame if frame is None else frame)
        camera = self.cameras[index]
        if with_tf:
            self.tf.sendTransform(self.transforms(index, header))
        image = image or conversions.image_to_msg(self.pictures[index], "rgb8", header)
        info = info or conversions.info_from_camera(camera, header)
        image.header = info.header = header
        self.image.publish(image)
        if with_info:
            self.info.publish(info)
        return stamp

    def poses(self, *indices):
        """Poses in the map frame of some of the robot's own views."""
        return [conversions.pose_to_msg(self.cameras[i].c2w, Header(frame_id=self.map_frame)) for i in indices]

    def ask(self, *views, **fields):
        """The answer to a request for views at poses, or at the robot's own by their index."""
        poses = [view if isinstance(view, PoseStamped) else self.poses(view)[0] for view in views]
        return self.call(self.service, poses=poses, **fields)

    def diagnostics(self, name=None):
        """The values that gld_node published newest, by topic ("node": its own), from well after this call."""
        name = name or self.target

        def messages():
            return [m.status for m in self._diagnostics[seen:] if m.status[0].hardware_id == name]

        seen = len(self._diagnostics)
        self.wait(lambda: len(messages()) >= 2, "diagnostics")
        return {s.name.removeprefix(f"{name}: "): {v.key: v.value for v in s.values} for s in messages()[-1]}

    def counts(self, topic):
        return {key: int(value) for key, value in self.diagnostics()[topic].items()}

    def fill_context(self, *indices):
        """Send frames until they all are key frames."""
        wanted = int(self.diagnostics()["node"]["key_frames"]) + len(indices)
        self.wait(lambda: self.image.get_subscription_count() and self.info.get_subscription_count(), "subscriptions")

        def kept():
            for index in indices:
                self.send(index)
                time.sleep(0.03)
            return int(self.diagnostics()["node"]["key_frames"]) >= wanted

        self.wait(kept, "key frames")


def logged(process, pattern):
    """A condition: the node's log holds the pattern."""
    return lambda: re.search(pattern, process.log)
