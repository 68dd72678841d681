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
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped, TransformStamped
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.srv import GetParameters, SetParameters
from rclpy.action import ActionClient
from rclpy.executors import SingleThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header
from tf2_ros import TransformBroadcaster

from gld_ros.action import SynthesizeTrajectory
from gld_ros.data.rooms import random_room
from gld_ros.geometry.cameras import Camera
from gld_ros.ros import conversions
from gld_ros.ros.node import guards, node
from gld_ros.ros.node.session import load
from gld_ros.srv import SynthesizeViews

SCRIPT = Path(__file__).parents[2] / "scripts" / "gld_node"
PATIENCE = 60.0  # seconds a machine with one busy core may take for anything
K = np.array([[110.0, 0, 96], [0, 110, 72], [0, 0, 1]])


def node_arguments(parameters):
    """ROS arguments of these parameters; `__ns` and `__node` remap the namespace and the name."""
    arguments = ["--ros-args"]
    for name, value in {"diagnostics_period": 0.1, **parameters}.items():
        arguments += ["-r" if name.startswith("__") else "-p", f"{name}:={value}"]
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


LOGGED = []  # (logger, message) of all nodes in this process
write_log = rclpy_implementation.rclpy_logging_rcutils_log


def keep_log(severity, name, message, *where):
    LOGGED.append((name, message))
    write_log(severity, name, message, *where)


rclpy_implementation.rclpy_logging_rcutils_log = keep_log

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
        self._seen = len(LOGGED)
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

    @property
    def log(self):
        own = self.node.get_logger().name
        return "\n".join(message for name, message in LOGGED[self._seen :] if name == own) + "\n"

    def stop(self):
        """Whether it ended in time, and no callback failed."""
        self._executor.shutdown(timeout_sec=PATIENCE)
        self._thread.join(PATIENCE)
        ended = self.node.close() and not self._thread.is_alive()
        self.node.destroy_node()
        return ended and "unexpected" not in self.log


class Robot:
    """Camera, TF and clients; a thread spins the node. Its topics and the gld_node that it uses are in `namespace`."""

    camera_frame, map_frame = "camera", "map"

    def __init__(self, name="robot", namespace="/"):
        self.node = rclpy.create_node(name, namespace=namespace)
        self.target = f"{namespace.rstrip('/')}/gld_node"
        self.image = self.node.create_publisher(Image, "image", 10)
        self.info = self.node.create_publisher(CameraInfo, "camera_info", 10)
        self.tf = TransformBroadcaster(self.node)
        self.request = self.node.create_publisher(PoseStamped, "gld_node/request", 10)
        self.service = self.node.create_client(SynthesizeViews, "gld_node/synthesize")
        self.action = ActionClient(self.node, SynthesizeTrajectory, "gld_node/synthesize_trajectory")
        self._transition = self.node.create_client(ChangeState, "gld_node/change_state")
        self._get = self.node.create_client(GetParameters, "gld_node/get_parameters")
        self._set = self.node.create_client(SetParameters, "gld_node/set_parameters")
        self._diagnostics = []
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._diagnostics.append, 10)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._executor.spin, daemon=True)
        self._thread.start()
        room = random_room(3)
        start = room.trajectory(40, seed=1)
        self.cameras = [Camera(K, c2w, 192, 144) for c2w in start[:12:2]]
        self.pictures, self.depths = room.render(self.cameras)

    def close(self):
        self._executor.shutdown(timeout_sec=5)
        self._thread.join(5)
        self.action.destroy()
        self.node.destroy_node()

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

    def wait(self, condition, what, timeout=PATIENCE):
        """The first true value of `condition()`."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            value = condition()
            if value:
                return value
            time.sleep(0.02)
        raise AssertionError(f"{what}: not within {timeout} s")

    def result(self, future, what="answer"):
        self.wait(future.done, what)
        return future.result()

    def synthesize(self, request):
        self.wait(self.service.service_is_ready, "service")
        return self.result(self.service.call_async(request))

    def transition(self, number):
        self.wait(self._transition.service_is_ready, "lifecycle service")
        request = ChangeState.Request()
        request.transition.id = number
        return self.result(self._transition.call_async(request)).success

    def get_parameter(self, name):
        return self.result(self._get.call_async(GetParameters.Request(names=[name]))).values[0]

    def set_parameter(self, name, value):
        """The result's reason, empty if the value was taken."""
        message = Parameter(name, value=value).to_parameter_msg()
        result = self.result(self._set.call_async(SetParameters.Request(parameters=[message]))).results[0]
        assert result.successful == (not result.reason)
        return result.reason

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
