# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The tables of topics and parameters, docs/interfaces.md and the SROS2 policy against running nodes, both ways."""

import dataclasses
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import rclpy
from rcl_interfaces.srv import ListParameters
from rclpy.action.graph import get_action_client_names_and_types_by_node, get_action_server_names_and_types_by_node
from rclpy.node import Node
from rclpy.parameter import Parameter
from robot import PATIENCE, NodeThread

from gld_ros.data.sequence import write_folder
from gld_ros.geometry.cameras import Camera
from gld_ros.ros.client import ACTION, SERVICES, GLDClient
from gld_ros.ros.dashboard import node as dashboard
from gld_ros.ros.declarations import EVERY_NODE, ROS_PARAMETERS
from gld_ros.ros.demo.processes import Processes
from gld_ros.ros.demo.recorder import NOT_RECORDED, Recorder
from gld_ros.ros.drivers import player
from gld_ros.ros.interface.page import SECTIONS, parse_interface, qos_in_words, type_names
from gld_ros.ros.interface.policy import NOT_IN_DEMO, RULES, graph_name
from gld_ros.ros.node import topics
from gld_ros.ros.node.node import GLDNode
from gld_ros.ros.node.parameters import FIELDS
from gld_ros.views import SourceView

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "interfaces.md").read_text()
POLICY = (ROOT / "config" / "sros2" / "policies.xml").read_text()
DEMO = {"image_topics": "[/camera/image_raw]", "camera_info_topics": "[/camera/camera_info]"}


class Graph:
    """What the ROS graph knows of a node, seen by another one."""

    def __init__(self):
        self.node = rclpy.create_node("observer", enable_rosout=False)

    def endpoints(self, name):
        """{kind as in `declarations.Table`: {(name, type, QoS of topics)}}; names as in the policy."""
        g = self.node
        (namespace,) = [space for node, space in g.get_node_names_and_namespaces() if node == name]

        def qos(infos, topic):
            return next(qos_in_words(i.qos_profile) for i in infos(topic) if i.node_name == name)

        found = {
            "subscribes": g.get_subscriber_names_and_types_by_node(name, namespace),
            "publishes": g.get_publisher_names_and_types_by_node(name, namespace),
            "serves": g.get_service_names_and_types_by_node(name, namespace),
            "calls": g.get_client_names_and_types_by_node(name, namespace),
            "executes": get_action_server_names_and_types_by_node(g, name, namespace),
            "sends": get_action_client_names_and_types_by_node(g, name, namespace),
        }
        infos = {"subscribes": g.get_subscriptions_info_by_topic, "publishes": g.get_publishers_info_by_topic}
        return {
            kind: {
                (
                    re.sub(f"^/{name}/", "~/", topic),
                    re.sub("/(msg|srv|action)/", "/", types[0]),
                    qos(infos[kind], topic) if kind in infos else "",
                )
                for topic, types in entries
                if "/_action/" not in topic
            }
            for kind, entries in found.items()
        }

    def close(self):
        self.node.destroy_node()

    def settled(self, name, expected):
        """Assert that what the graph says of a node becomes `expected`; discovery takes its time on a busy machine."""
        end = time.monotonic() + 2 * PATIENCE
        found = None
        while found != expected and time.monotonic() < end:
            time.sleep(0.2)
            try:
                found = self.endpoints(name)
            except (ValueError, StopIteration, RuntimeError):  # not there yet, or on its way out
                continue
        assert found == expected


def expected(*tables, skip=NOT_IN_DEMO, rename=graph_name, pose=0):
    """As `Graph.endpoints` has it, of a node that declares these tables. pose: which of its types is used."""
    found = {kind: set() for kind in RULES}
    for table in (*tables, {kind: EVERY_NODE[kind] for kind in ("publishes", "serves")}):
        for kind, endpoints in table.items():
            for name in endpoints.keys() - set(skip):
                qos = qos_in_words(endpoints[name].qos) if kind in ("subscribes", "publishes") else ""
                kinds = type_names(endpoints[name])
                found[kind].add((rename(name), kinds[pose if name == "pose" else 0], qos))
    return found


@pytest.fixture(scope="module")
def graph():
    with closing(Graph()) as graph:
        yield graph


def test_compressed_cameras_publish_what_the_table_says(graph, tmp_path):
    """Before the demo's nodes are there: its camera has the same name."""
    processes = Processes(tmp_path, time.monotonic() + 10 * PATIENCE)
    processes.start("camera", "gld_ros.ros.drivers.sim_camera", {"compressed": True, "wait_for_subscribers": 100})
    try:
        graph.settled("gld_sim_camera", expected(player.INTERFACE, skip=["NAME/image_raw", "/clock"]))
    finally:
        processes.stop()


@pytest.fixture(scope="module")
def demo(graph, tmp_path_factory):
    """The nodes of the demo at work, and a dashboard as if somebody looked at it, which is not spun: yielded."""
    folder = tmp_path_factory.mktemp("demo")
    camera = Camera(np.array([[20.0, 0, 16], [0, 20, 12], [0, 0, 1]]), np.eye(4), 32, 24)
    view = SourceView(np.zeros((24, 32, 3), np.uint8), camera, 1, np.ones((24, 32), np.float32))
    sequence = str(write_folder(folder / "sequence", [view]))
    processes = Processes(folder, time.monotonic() + 10 * PATIENCE)
    playing = {"stamps": "recorded", "wait_for_subscribers": 100}
    processes.start("gld_sim_camera", "gld_ros.ros.drivers.sim_camera", playing)
    processes.start("gld_replay", "gld_ros.ros.drivers.replay", {"sequence": sequence, **playing})
    shown = dashboard.DashboardNode(cli_args=["--ros-args", "-p", "port:=0"])
    client_node = Node("gld_demo")
    with NodeThread(**DEMO), closing(Recorder(client_node, folder / "bag")), GLDClient(node=client_node) as client:
        client.wait(lambda: bool(shown.watch(True)) or "/camera/image_raw" in shown._while_watched, PATIENCE, "cameras")
        yield shown
        shown.close()
        shown.destroy_node()
    processes.stop()


def recorded():
    """What the demo's recorder subscribes to, with the QoS that it is offered."""
    published = expected(topics.INTERFACE, topics.LIFECYCLE)["publishes"] | expected(player.INTERFACE)["publishes"]
    found = {(name.replace("~", "/gld_node"), kind, qos) for name, kind, qos in published if name not in NOT_RECORDED}
    return {
        **expected(),
        "subscribes": found,
        "calls": {(f"/gld_node/{n}", f"{k.__module__.split('.')[0]}/{k.__name__}", "") for n, k in SERVICES.items()},
        "sends": {(f"/gld_node/{ACTION}", "gld_ros/SynthesizeTrajectory", "")},
    }


RUNNING = {
    "gld_node": lambda: expected(topics.INTERFACE, topics.LIFECYCLE),
    "gld_sim_camera": lambda: expected(player.INTERFACE),
    "gld_replay": lambda: expected(player.INTERFACE),
    "gld_dashboard": lambda: expected(dashboard.INTERFACE),
    "gld_demo": recorded,
}


@pytest.mark.parametrize("name", RUNNING)
def test_a_running_node_has_what_its_table_and_the_policy_say_and_nothing_else(demo, graph, name):
    declared = RUNNING[name]()
    graph.settled(name, declared)
    (profile,) = ElementTree.fromstring(POLICY).iterfind(f".//profile[@node='{name}']")
    allowed = {kind: set() for kind in RULES}
    for rule in profile:
        (kind,) = [
            k for k, (element, _, attribute) in RULES.items() if (element, attribute) == (rule.tag, *rule.keys())
        ]
        allowed[kind] |= {item.text for item in rule}
    assert allowed == {kind: {name for name, *_ in found} for kind, found in declared.items()}


@pytest.mark.parametrize(
    "settings, skip, pose",
    [
        (
            {
                "image_topics": "[image/compressed]",
                "depth_topics": "[depth]",
                "depth_camera_info_topics": "[depth_camera_info]",
                "pose_source": "odometry",
                "follow_path_topic": "plan",
            },
            ["image"],
            1,
        ),
        ({"pose_source": "pose", "use_sim_time": True}, ["image/compressed", "plan", "depth", "depth_camera_info"], 0),
    ],
)
def test_other_settings_of_the_node_have_the_other_topics(graph, settings, skip, pose):
    clock = {"subscribes": EVERY_NODE["subscribes"]} if "use_sim_time" in settings else {}
    with NodeThread(**settings, __node="other"):
        declared = expected(
            topics.INTERFACE,
            topics.LIFECYCLE,
            clock,
            skip=skip,
            rename=lambda n: re.sub("^(?![~/])", "/", n),
            pose=pose,
        )
        graph.settled("other", declared)


@pytest.mark.skipif(sys.prefix == sys.base_prefix, reason="not the venv of the Makefile")
def test_the_generated_documents_are_up_to_date():
    command = [sys.executable, "-m", "gld_ros.ros.interface", "--check"]
    check = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert check.returncode == 0, check.stderr


@pytest.mark.parametrize("parameters", [p for _, nodes in SECTIONS for p in nodes.items()], ids=lambda p: p[0])
def test_a_node_declares_the_parameters_of_the_page(demo, graph, parameters):
    name, declared = parameters
    if name == "gld_dashboard":
        found = demo.list_parameters([], 0).names
    else:
        client = graph.node.create_client(ListParameters, f"/{name}/list_parameters")
        assert client.wait_for_service(PATIENCE)
        future = client.call_async(ListParameters.Request())
        rclpy.spin_until_future_complete(graph.node, future, timeout_sec=PATIENCE)
        graph.node.destroy_client(client)
        found = future.result().result.names
    names = {field.name for field in dataclasses.fields(declared)}
    assert set(found) == names | set(ROS_PARAMETERS)
    assert names <= set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE))


@pytest.fixture
def node():
    """By another name: the graph would forget the first `gld_node` of this process when a second one is destroyed."""
    node = GLDNode(cli_args=["--ros-args", "-r", "__node:=live"])
    yield node
    node.close()
    node.destroy_node()


def other_value(node, field):
    """An allowed value that is not the default."""
    limits, default = field.metadata["limits"], field.default
    if limits:
        return next(value for value in limits if value != default)
    if isinstance(default, bool):
        return not default
    if isinstance(default, tuple):
        return [*default[:-1], default[-1] + ("x" if isinstance(default[-1], str) else type(default[-1])(1))]
    return f"{default}x"


def plain(value):
    return value if isinstance(value, (str, bool, int, float)) else list(value)


def test_live_parameters_take_effect_and_all_others_are_refused(node):
    assert any(field.metadata["live"] for field in FIELDS.values())
    for name, field in FIELDS.items():
        value = other_value(node, field)
        (result,) = node.set_parameters([Parameter(name, value=value)])
        assert result.successful == field.metadata["live"], f"{name}: {result.reason}"
        now = value if field.metadata["live"] else plain(field.default)
        assert plain(node.get_parameter(name).value) == now
        assert plain(getattr(node.parameters, name)) == now, f"{name} is set, but the node works on without it"
        assert result.successful or "read-only" in result.reason


@pytest.mark.parametrize(
    "file",
    sorted([*ROOT.glob("msg/*.msg"), *ROOT.glob("srv/*.srv"), *ROOT.glob("action/*.action")]),
    ids=lambda file: file.name,
)
def test_every_field_of_every_message_is_explained(file):
    for part in parse_interface(file.read_text()):
        for name, _, meaning in part.fields + part.constants:
            assert len(meaning) > 5, f"{file.name}: {name} has no comment"


# What sros2's schema (policy.xsd, version 0.2.0) says of each element: its attributes and children.
ALLOWED = {
    "policy": ({"version"}, {"enclaves"}),
    "enclaves": (set(), {"enclave"}),
    "enclave": ({"path"}, {"profiles"}),
    "profiles": (set(), {"profile"}),
    "profile": ({"ns", "node"}, {"topics", "services", "actions"}),
    "topics": ({"publish", "subscribe"}, {"topic"}),
    "services": ({"reply", "request"}, {"service"}),
    "actions": ({"call", "execute"}, {"action"}),
}
LEAVES = {"topic", "service", "action"}


def test_the_policy_is_valid_and_has_no_wildcards():
    root = ElementTree.fromstring(POLICY)
    assert root.tag == "policy" and root.attrib == {"version": "0.2.0"}
    for element in root.iter():
        if element.tag in LEAVES:
            assert re.fullmatch(r"(~?/)?[a-zA-Z]\w*(/[a-zA-Z]\w*)*", element.text), (
                f"{element.text}: not one exact name"
            )
        else:
            attributes, children = ALLOWED[element.tag]
            assert set(element.attrib) <= attributes
            assert {child.tag for child in element} <= children and len(element)
            if element.tag in ("topics", "services", "actions"):
                assert set(element.attrib.values()) == {"ALLOW"}
    paths = [enclave.attrib["path"] for enclave in root.iter("enclave")]
    assert paths == [
        f"/gld_ros/{node}" for node in ("gld_node", "gld_sim_camera", "gld_replay", "gld_demo", "gld_dashboard")
    ]
