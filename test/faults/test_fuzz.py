# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Random messages on every topic and random requests to every service and action of gld_node, over DDS.

Their number is the environment variable GLD_FUZZ; `make fuzz` sends 20,000. Nothing crashes, and every answer has a
documented code with its reason.
"""

import os
import time
from collections import Counter

import nav_msgs.msg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from messages import changed, changes, message
from patient import Patient, report
from rcl_interfaces.srv import (
    DescribeParameters,
    GetParameters,
    GetParameterTypes,
    ListParameters,
    SetParameters,
    SetParametersAtomically,
)
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo, Image
from std_srvs.srv import SetBool, Trigger
from tf2_msgs.msg import TFMessage

from gld_ros.action import SynthesizeTrajectory
from gld_ros.srv import LoadMap, SaveMap, SynthesizeViews

COUNT = int(os.environ.get("GLD_FUZZ", "300"))
BATCH = 5  # messages between two good requests
SHARES = {"tf": 0.7, "odometry": 0.3}  # of the messages, by the parameter pose_source
PARAMETER_SERVICES = {
    "set_parameters": SetParameters,
    "set_parameters_atomically": SetParametersAtomically,
    "get_parameters": GetParameters,
    "get_parameter_types": GetParameterTypes,
    "describe_parameters": DescribeParameters,
    "list_parameters": ListParameters,
}
FRAME = "fuzzed"  # of cameras whose TF may be anything; that of the healthy camera stays


def codes(answer):
    """Documented values of its error_code: the constants of its type."""
    return {value for name, value in vars(type(answer)).items() if name.isupper() and isinstance(value, int)}


class Fuzzer:
    """Sends what hypothesis draws; `sent` counts by kind, `answers` by code."""

    def __init__(self, patient):
        self.patient, robot = patient, patient.node
        self.sent, self.answers = Counter(), Counter()
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.topics = {
            "image": patient.image,
            "camera_info": patient.info,
            "tf": patient.tf,
            "tf_static": robot.create_publisher(TFMessage, "/tf_static", latched),
            "request": patient.request,
            "plan": robot.create_publisher(nav_msgs.msg.Path, "plan", 10),
            "pose": robot.create_publisher(nav_msgs.msg.Odometry, "pose", 10),
        }
        node = "gld_node"
        self.services = {
            "synthesize": patient.service,
            "clear_context": robot.create_client(Trigger, f"{node}/clear_context"),
            "clear_map": robot.create_client(Trigger, f"{node}/clear_map"),
            "save_map": robot.create_client(SaveMap, f"{node}/save_map"),
            "load_map": robot.create_client(LoadMap, f"{node}/load_map"),
            "follow": robot.create_client(SetBool, f"{node}/follow"),
            **{name: robot.create_client(kind, f"{node}/{name}") for name, kind in PARAMETER_SERVICES.items()},
        }
        goals = st.one_of(message(SynthesizeTrajectory.Goal), changes(SynthesizeTrajectory.Goal))
        operations = [
            *(self._topic(name, publisher.msg_type) for name, publisher in self.topics.items()),
            *(self._service(name, client.srv_type.Request) for name, client in self.services.items()),
            *[self._mutated()] * 6,
            *[self._service("synthesize", SynthesizeViews.Request)] * 3,
            *[st.tuples(st.just("goal"), st.booleans(), goals)] * 2,
        ]
        self.operations = st.sampled_from(operations).flatmap(lambda operation: operation)

    def _topic(self, name, kind):
        return st.tuples(st.just(name), st.none(), message(kind))

    def _mutated(self):
        """A frame that is healthy but for some fields."""
        return st.tuples(
            st.just("frame"),
            st.none(),
            st.tuples(
                *(
                    st.one_of(st.just([]), changes(kind))
                    for kind in (Image, CameraInfo, type(self.patient.frame(0.0)[2]))
                )
            ),
        )

    def _service(self, name, kind):
        return st.tuples(st.just(name), st.none(), st.one_of(message(kind), changes(kind)))

    def send(self, kind, cancel, content):
        """One operation; waits for its answer, where there is one."""
        self.sent[kind] += 1
        if kind == "frame":
            self._send_frame(content)
        elif kind == "goal":
            self._send_goal(content, cancel)
        elif kind in self.services:
            self._call(kind, content)
        else:
            self.topics[kind].publish(content)

    def _send_frame(self, new):
        patient = self.patient
        patient.x += 0.3
        image, info, transform = (
            changed(healthy, fields) for healthy, fields in zip(patient.frame(patient.x, frame=FRAME), new, strict=True)
        )
        if transform.child_frame_id == "camera":
            transform.child_frame_id = FRAME
        patient.tf.publish(TFMessage(transforms=[transform]))
        patient.info.publish(info)
        patient.image.publish(image)

    def _healthy(self, kind):
        pose = self.patient.pose(self.patient.x)
        return kind(poses=[pose]) if hasattr(kind, "poses") else kind()

    def _call(self, kind, content):
        client = self.services[kind]
        request = client.srv_type.Request
        if isinstance(content, list):
            content = changed(self._healthy(request), content)
        answer = self.patient.result(client.call_async(content))
        if hasattr(answer, "error_code"):
            self._check(kind, answer)
        for result in getattr(answer, "results", []):
            assert result.successful or result.reason

    def _send_goal(self, content, cancel):
        if isinstance(content, list):
            content = changed(self._healthy(SynthesizeTrajectory.Goal), content)
        handle = self.patient.result(self.patient.action.send_goal_async(content))
        if cancel:
            handle.cancel_goal_async()
        self._check("goal", self.patient.result(handle.get_result_async()).result)

    def _check(self, kind, answer):
        assert answer.error_code in codes(answer), (kind, answer.error_code, answer.error_message)
        assert (answer.error_code == 0) == (answer.error_message == ""), (kind, answer.error_message)
        self.answers[f"{kind} {answer.error_code}"] += 1


@pytest.fixture(params=SHARES)
def fuzzer(request, tmp_path):
    how = {"pose_source": request.param, "map_enabled": True, "follow_path_topic": "plan", "max_views": 8}
    patient = Patient(tmp_path, **how)
    fuzzer = Fuzzer(patient)
    if request.param == "odometry":
        send = patient.tf.publish

        def with_odometry(message):
            send(message)
            for transform in message.transforms:
                odometry = nav_msgs.msg.Odometry(header=transform.header, child_frame_id=transform.child_frame_id)
                p, q = odometry.pose.pose, transform.transform.translation
                p.position.x, p.position.y, p.position.z = q.x, q.y, q.z
                p.orientation = transform.transform.rotation
                fuzzer.topics["pose"].publish(odometry)

        patient.tf.publish = with_odometry
    try:
        patient.good()
        yield fuzzer
    finally:
        patient.close()


def test_random_messages_and_requests(fuzzer, request):
    began = time.monotonic()
    count = round(COUNT * SHARES[request.node.callspec.params["fuzzer"]])
    live = fuzzer.patient.gld_node.parameters

    @settings(
        max_examples=max(count // BATCH, 1),
        deadline=None,
        database=None,
        derandomize=COUNT <= 1000,  # the short run is the same each time
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(fuzzer.operations, min_size=BATCH, max_size=BATCH))
    def batches(operations):
        for operation in operations:
            fuzzer.send(*operation)
        assert fuzzer.patient.gld_node.parameters == live  # random names and values are none of ours
        fuzzer.patient.good()

    batches()
    figures = {
        "what": "fuzz",
        "pose_source": request.node.callspec.params["fuzzer"],
        "sent": sum(fuzzer.sent.values()),
        "by_kind": dict(fuzzer.sent),
        "answers": dict(fuzzer.answers),
        "seconds": round(time.monotonic() - began, 1),
    }
    assert fuzzer.sent and figures["sent"] >= count // BATCH * BATCH
    report(figures)
