# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""For tests that talk over DDS: a domain of this run, so that neither other tests nor a robot in the network interfere;
rclpy; what nodes of this process log; and a client of gld_node."""

import threading
import time
from collections import deque

import pytest
import rclpy
from geometry_msgs.msg import PoseStamped
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.srv import GetParameters, SetParameters
from rclpy.action import ActionClient
from rclpy.executors import SingleThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo, Image

from gld_ros.action import SynthesizeTrajectory
from gld_ros.ros.demo.processes import own_domain
from gld_ros.srv import SynthesizeViews

own_domain()
PATIENCE = 60.0  # seconds a machine with one busy core may take for anything

LOGGED = deque(maxlen=1000)  # (monotonic time, logger, message) of all nodes in this process
write_log = rclpy_implementation.rclpy_logging_rcutils_log


def keep_log(severity, name, message, *where):
    LOGGED.append((time.monotonic(), name, message))
    write_log(severity, name, message, *where)


rclpy_implementation.rclpy_logging_rcutils_log = keep_log


def logged_by(node, since):
    """All that a node of this process logged since then, a line each."""
    own = node.get_logger().name
    return "".join(f"{message}\n" for at, name, message in tuple(LOGGED) if name == own and at >= since)


@pytest.fixture(scope="session", autouse=True)
def ros():
    if not rclpy.ok():  # by other tests of this session
        rclpy.init()
    yield
    rclpy.try_shutdown()


@pytest.fixture(scope="module", autouse=True)
def nothing_stays(ros):
    """A node that a test leaves in the graph is taken for the next one of its name."""
    yield
    observer = rclpy.create_node("observer", enable_rosout=False)
    end = time.monotonic() + 40  # after 20 s DDS forgets a process that was killed
    while len(names := observer.get_node_names()) > 1 and time.monotonic() < end:
        time.sleep(0.1)
    observer.destroy_node()
    assert names == ["observer"], f"left in the graph: {names}"


class Client:
    """A node, spun by a thread, that publishes and asks as robots do; the gld_node it uses is in its `namespace`."""

    def __init__(self, name="robot", namespace="/"):
        self.node = rclpy.create_node(name, namespace=namespace)
        self.image = self.node.create_publisher(Image, "image", 10)
        self.info = self.node.create_publisher(CameraInfo, "camera_info", 10)
        self.request = self.node.create_publisher(PoseStamped, "gld_node/request", 10)
        self.service = self.node.create_client(SynthesizeViews, "gld_node/synthesize")
        self.action = ActionClient(self.node, SynthesizeTrajectory, "gld_node/synthesize_trajectory")
        self.change_state = self.node.create_client(ChangeState, "gld_node/change_state")
        self._get = self.node.create_client(GetParameters, "gld_node/get_parameters")
        self._set = self.node.create_client(SetParameters, "gld_node/set_parameters")
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._executor.spin, daemon=True)
        self._thread.start()

    def close(self):
        self._executor.shutdown(timeout_sec=5)
        self._thread.join(5)
        self.action.destroy()
        self.node.destroy_node()

    def alive(self):
        """Raises what ended a thread."""
        assert self._thread.is_alive(), "the client's thread ended"

    def wait(self, condition, what, timeout=PATIENCE):
        """The first true value of `condition()`."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            self.alive()
            value = condition()
            if value:
                return value
            time.sleep(0.01)
        raise AssertionError(f"{what}: not within {timeout:g} s")

    def result(self, future, what="answer"):
        done = threading.Event()
        future.add_done_callback(lambda _: done.set())
        self.wait(lambda: done.wait(0.2), what)
        return future.result()

    def call(self, client, **fields):
        """The answer of a service."""
        self.wait(client.service_is_ready, client.srv_name)
        return self.result(client.call_async(client.srv_type.Request(**fields)), client.srv_name)

    def transition(self, number):
        return self.call(self.change_state, transition=Transition(id=number)).success

    def get_parameter(self, name):
        return self.call(self._get, names=[name]).values[0]

    def set_parameter(self, name, value):
        """The reason why a value is not taken; empty if it is."""
        (result,) = self.call(self._set, parameters=[Parameter(name, value=value).to_parameter_msg()]).results
        assert result.successful == (not result.reason)
        return result.reason
