# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""gld_node in this process with a model that does what a test says, its robot and its clients, over DDS."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import rclpy
import torch
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import PoseStamped, TransformStamped
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.srv import SetParameters
from rclpy.action import ActionClient
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage

from gld_ros.action import SynthesizeTrajectory
from gld_ros.benchmarks.requests import Wall
from gld_ros.pipeline.pipeline import GLDPipeline
from gld_ros.ros import conversions
from gld_ros.ros.node import node
from gld_ros.srv import SynthesizeViews
from gld_ros.views import Progress, Scale, View

PATIENCE = 60.0  # seconds for what takes a fraction of one on a free machine
STAGES = ("encode", "level1", "level0", "decode")
DEPTH = 2.0  # metres, of every pixel that the model makes
SIZE = (48, 64)  # (H, W)
Response = SynthesizeViews.Response


class Model:
    """In the place of GLDPipeline: plain views of a wall, unless `fault(stage)` does something else.

    fault: called in each stage of each request. result: what it is given becomes the answer. sizes: of the requests.
    """

    name, max_sources, max_views, calibrated, device = "model", 4, 12, False, torch.device("cpu")
    synthesis = None

    def __init__(self):
        self.heal()

    def heal(self):
        self.fault = lambda stage: None
        self.result = lambda views: views
        self.asked = []

    def __call__(self, sources, targets, *, callback=None, size=None, seed=0, time_budget=None, **settings):
        self.asked.append((len(sources), size))
        for i, stage in enumerate(STAGES):
            self.fault(stage)
            if callback is not None:
                callback(Progress(stage, 1, 1, (i + 1) / len(STAGES)))
        stamps = tuple(source.stamp for source in sources)
        return self.result([self._view(target, seed, stamps) for target in targets])

    def _view(self, target, seed, stamps):
        size = target.height, target.width
        depth, confidence = np.full(size, DEPTH, np.float32), np.full(size, 0.5, np.float32)
        image, generated = np.full((*size, 3), 77, np.uint8), np.zeros(size, bool)
        return View(target, image, depth, confidence, generated, Scale(1.0, "stereo", 0.0), self.name, seed, stamps)

    def warm_up(self):
        self([], [])

    def smaller_sizes(self, camera):
        return [(24, 32), (12, 16)]

    def forget(self):
        pass

    def observed_depth(self, sources):
        return []

    just_observed = observed_depth


class Patient:
    """`model` is what it has; real ones by other values of the parameter `model`. kind: of the node."""

    def __init__(self, failures, kind=node.GLDNode, **parameters):
        self.model, self.failures = Model(), failures
        self._load = GLDPipeline.from_pretrained
        GLDPipeline.from_pretrained = lambda name, **how: self.model if name == "model" else self._load(name, **how)
        values = {
            "model": "model",
            "tf_timeout": 0.3,
            "diagnostics_period": 0.1,
            "input_timeout": 0.5,
            "watchdog_timeout": 0.4,
            "max_requests": 4,
            "max_sources": 4,
            "keyframe_max_age": 1e6,
            "failure_folder": failures,
            "failure_keep": 3,
            "map_folder": failures / "maps",
            "map_voxel_size": 0.2,
        }
        arguments = ["--ros-args"]
        for key, value in {**values, **parameters}.items():
            arguments += ["-p", f"{key}:={value}"]
        self.node = kind(cli_args=arguments)
        self.robot = rclpy.create_node("robot")
        self._executors = [SingleThreadedExecutor() for _ in range(2)]
        self.errors = []
        for executor, member in zip(self._executors, (self.node, self.robot), strict=True):
            executor.add_node(member)
        self._pool = ThreadPoolExecutor(2)
        self._spins = [self._pool.submit(executor.spin) for executor in self._executors]
        self.image = self.robot.create_publisher(Image, "image", 10)
        self.info = self.robot.create_publisher(CameraInfo, "camera_info", 10)
        self.tf = self.robot.create_publisher(TFMessage, "/tf", 100)
        self.request = self.robot.create_publisher(PoseStamped, "gld_node/request", 10)
        self.service = self.robot.create_client(SynthesizeViews, "gld_node/synthesize")
        self.action = ActionClient(self.robot, SynthesizeTrajectory, "gld_node/synthesize_trajectory")
        self._transition = self.robot.create_client(ChangeState, "gld_node/change_state")
        self._set = self.robot.create_client(SetParameters, "gld_node/set_parameters")
        self.wall = Wall(SIZE)
        self.seed, self.x = 0, 0.0
        self.statuses = []
        self.robot.create_subscription(DiagnosticArray, "/diagnostics", self._heard, 50)
        self.transition(1)
        self.transition(3)

    def _heard(self, message):
        self.statuses = [*self.statuses[-300:], message.status[0]]

    def close(self):
        GLDPipeline.from_pretrained = self._load
        self.model.heal()
        for executor in self._executors:
            executor.shutdown(timeout_sec=5)
        self.node.close()
        self._pool.shutdown()
        self.action.destroy()
        for member in (self.node, self.robot):
            member.destroy_node()

    def forget(self):
        """What was heard and asked so far."""
        self.statuses, self.model.asked = [], []

    # ---- what a robot sends

    def frame(self, x, stamp=None, frame="camera"):
        """(image, info, transform) as a healthy camera at x sends them."""
        view = self.wall.view(x)
        header = Header(stamp=conversions.ns_to_stamp(time.time_ns() if stamp is None else stamp), frame_id=frame)
        transform = TransformStamped(header=Header(stamp=header.stamp, frame_id="map"), child_frame_id=frame)
        transform.transform.translation.x = float(x)
        image = conversions.image_to_msg(view.image, "rgb8", header)
        return image, conversions.info_from_camera(view.camera, header), transform

    def send(self, x=None, change=lambda image, info, transform: None, **how):
        """Publish such a frame, at a new place by default; change(image, info, transform): what is wrong with it."""
        if x is None:
            self.x = x = self.x + 0.3
        image, info, transform = self.frame(x, **how)
        change(image, info, transform)
        self.tf.publish(TFMessage(transforms=[transform]))
        self.info.publish(info)
        self.image.publish(image)

    def received(self, topic="/image", key="received"):
        return self.node.counters.snapshot().get(topic, {}).get(key, 0)

    # ---- what a client asks

    def pose(self, x=0.1, frame="map", stamp=0):
        return conversions.pose_to_msg(
            self.wall.camera(x).c2w, Header(frame_id=frame, stamp=conversions.ns_to_stamp(stamp))
        )

    def call(self, *poses, **fields):
        """The future of a request."""
        return self.service.call_async(SynthesizeViews.Request(poses=list(poses), **fields))

    def ask(self, **fields):
        """The answer to a request at a place that the robot sees."""
        return self.result(self.call(self.pose(self.x), **fields))

    def goal(self, *poses, feedback=None, **fields):
        goal = SynthesizeTrajectory.Goal(poses=list(poses), **fields)
        return self.result(self.action.send_goal_async(goal, feedback))

    def good(self):
        """The node answers a good request, and with what was asked for."""
        self.model.heal()

        def answered():
            if len(self.node.key_frames) < 3:
                self.send()
                time.sleep(0.05)
                return None
            self.seed += 1
            answer = self.ask(seed=self.seed)
            if answer.error_code in (Response.NO_CONTEXT, Response.CANCELLED):  # still in the wake of the fault
                time.sleep(0.05)
                return None
            return answer

        answer = self.wait(answered, "a good answer")
        assert answer.error_code == Response.NONE, answer.error_message
        (view,) = answer.views
        assert (view.seed, view.image.height, view.image.width) == (self.seed, *SIZE)
        np.testing.assert_allclose(view.pose.pose.position.x, self.x, atol=1e-6)
        assert (np.frombuffer(view.depth.data, np.float32) == DEPTH).all()
        assert answer.points.width == SIZE[0] * SIZE[1]
        self.alive()

    def alive(self):
        """Both executors spin."""
        for spin in self._spins:
            assert not spin.done() or spin.result(), "an executor ended"

    # ---- waiting, and the rest of the node

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

    def result(self, future, timeout=PATIENCE):
        event = threading.Event()
        future.add_done_callback(lambda _: event.set())
        self.wait(lambda: event.wait(0.2), "an answer", timeout)
        return future.result()

    def transition(self, number):
        assert self._transition.wait_for_service(PATIENCE)
        request = ChangeState.Request()
        request.transition.id = number
        return self.result(self._transition.call_async(request)).success

    def restart(self, *transitions):
        """Through deactivate, cleanup, configure, activate."""
        return [self.transition(number) for number in transitions or (4, 2, 1, 3)]

    def set(self, name, value):
        """The reason why a value is not taken; empty if it is."""
        message = Parameter(name, value=value).to_parameter_msg()
        return self.result(self._set.call_async(SetParameters.Request(parameters=[message]))).results[0].reason

    def diagnosed(self, level, text):
        """A diagnostic of the node of that level whose message holds `text` comes."""
        levels = {"ok": DiagnosticStatus.OK, "warn": DiagnosticStatus.WARN, "error": DiagnosticStatus.ERROR}
        self.wait(
            lambda: any(s.level == levels[level] and text in s.message for s in self.statuses), f"{level}: {text}"
        )

    def value(self, key):
        """Of the newest diagnostics."""
        return {v.key: v.value for v in self.statuses[-1].values}[key]
