# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""gld_node in this process with a model that does what a test says, its robot and its clients, over DDS."""

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from dds import Client, logged_by
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import TransformStamped
from rclpy.executors import SingleThreadedExecutor
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage

from gld_ros.action import SynthesizeTrajectory
from gld_ros.benchmarks.requests import Wall
from gld_ros.pipeline.pipeline import GLDPipeline
from gld_ros.ros import conversions
from gld_ros.ros.node import node
from gld_ros.srv import SynthesizeViews
from gld_ros.views import Progress, Scale, View

STAGES = ("encode", "level1", "level0", "decode")
DEPTH = 2.0  # metres, of every pixel that the model makes
SIZE = (48, 64)  # (H, W)
Response = SynthesizeViews.Response


def report(figures):
    """Add a line to the file GLD_FUZZ_REPORT, where there is one."""
    if os.environ.get("GLD_FUZZ_REPORT"):
        with open(os.environ["GLD_FUZZ_REPORT"], "a") as file:
            file.write(json.dumps(figures) + "\n")


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


class Patient(Client):
    """`model` is what `gld_node` has; real ones by other values of the parameter `model`. kind: of the node."""

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
        self.gld_node = kind(cli_args=arguments)
        self._spins_node = SingleThreadedExecutor()
        self._spins_node.add_node(self.gld_node)
        self._pool = ThreadPoolExecutor(1)
        self._spin = self._pool.submit(self._spins_node.spin)
        super().__init__()
        self.tf = self.node.create_publisher(TFMessage, "/tf", 100)
        self.wall = Wall(SIZE)
        self.seed, self.x = 0, 0.0
        self.forget()
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._heard, 50)
        self.transition(1)
        self.transition(3)

    def _heard(self, message):
        self.statuses = [*self.statuses[-300:], message.status[0]]

    def close(self):
        GLDPipeline.from_pretrained = self._load
        self.model.heal()
        self._spins_node.shutdown(timeout_sec=5)
        self.gld_node.close()
        self._pool.shutdown()
        super().close()
        self.gld_node.destroy_node()

    def alive(self):
        """Both executors spin."""
        super().alive()
        assert not self._spin.done() or self._spin.result(), "the executor of gld_node ended"

    def forget(self):
        """What was heard and asked so far."""
        self.statuses, self.model.asked, self._since = [], [], time.monotonic()

    def expect_warnings(self):
        """That the log says everything anew, however lately it said so."""
        self.gld_node.shared.warn._last.clear()
        self._since = time.monotonic()

    def logged(self, text):
        """Whether gld_node logged it since then."""
        return text in logged_by(self.gld_node, self._since)

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
        return self.gld_node.counters.snapshot().get(topic, {}).get(key, 0)

    # ---- what a client asks

    def pose(self, x=0.1, frame="map", stamp=0):
        return conversions.pose_to_msg(
            self.wall.camera(x).c2w, Header(frame_id=frame, stamp=conversions.ns_to_stamp(stamp))
        )

    def submit(self, *poses, **fields):
        """The future of a request."""
        return self.service.call_async(SynthesizeViews.Request(poses=list(poses), **fields))

    def ask(self, **fields):
        """The answer to a request at a place that the robot sees."""
        return self.result(self.submit(self.pose(self.x), **fields))

    def goal(self, *poses, feedback=None, **fields):
        goal = SynthesizeTrajectory.Goal(poses=list(poses), **fields)
        return self.result(self.action.send_goal_async(goal, feedback))

    def good(self):
        """The node answers a good request, and with what was asked for."""
        self.model.heal()

        def answered():
            if len(self.gld_node.key_frames) < 3:
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

    # ---- waiting, and the rest of the node

    def restart(self, *transitions):
        """Through deactivate, cleanup, configure, activate."""
        return [self.transition(number) for number in transitions or (4, 2, 1, 3)]

    def diagnosed(self, level, text):
        """A diagnostic of the node of that level whose message holds `text` comes."""
        levels = {"ok": DiagnosticStatus.OK, "warn": DiagnosticStatus.WARN, "error": DiagnosticStatus.ERROR}
        self.wait(
            lambda: any(s.level == levels[level] and text in s.message for s in self.statuses), f"{level}: {text}"
        )

    def value(self, key):
        """Of the newest diagnostics."""
        return {v.key: v.value for v in self.statuses[-1].values}[key]
