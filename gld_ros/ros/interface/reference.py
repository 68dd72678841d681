# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Writes what can be said of the interfaces from the sources and the nodes themselves: docs/interfaces.md and the
SROS2 policy config/sros2/policies.xml. `make docs` runs it; `--check` only says whether they are out of date."""

from __future__ import annotations

import argparse
import difflib
import itertools
import json
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from rclpy.node import Node

from gld_ros import allocator
from gld_ros.data.rig import camera_topics
from gld_ros.data.sequence import write_folder
from gld_ros.geometry.cameras import Camera
from gld_ros.ros.client import GLDClient
from gld_ros.ros.dashboard.node import DashboardNode
from gld_ros.ros.demo.processes import own_domain
from gld_ros.ros.demo.recorder import NOT_RECORDED, Recorder
from gld_ros.ros.drivers.replay import ReplayNode
from gld_ros.ros.drivers.sim_camera import SimCameraNode
from gld_ros.ros.interface.graph import Interfaces, ParameterFacts, interfaces_of, parameters_of
from gld_ros.ros.interface.page import interface_page
from gld_ros.ros.interface.policy import policy_document
from gld_ros.ros.node.node import GLDNode
from gld_ros.views import SourceView

ROOT = Path(__file__).parents[3]
# A namespace tells absolute from relative names; a new one each time, as a closed context leaves traces in the graph.
NAMESPACES = (f"/robot{number}" for number in itertools.count())
# Parameters that have to be set to run the nodes here, and their defaults.
NOT_DEFAULT: dict[str, dict[str, Any]] = {"gld_replay": {"sequence": ""}, "gld_dashboard": {"port": 8080}}
# Settings of gld_node that change which topics it has.
VARIANTS: list[dict[str, Any]] = [
    {},
    {"image_topics": ["image/compressed"], "pose_source": "pose", "follow_path_topic": "plan"},
    {"pose_source": "odometry", "use_sim_time": True},
]


def main(arguments: list[str] | None = None) -> int:
    """Write the files, or compare them; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m gld_ros.ros.interface.reference", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a file is out of date")
    parser.add_argument("--root", type=Path, default=ROOT, help="checkout to write into")
    args = parser.parse_args(arguments)
    own_domain()
    policy = policy_document(demo_nodes())  # first: its recorder would see what other contexts left in the graph
    nodes, parameters = documented_nodes()
    documents = {"docs/interfaces.md": interface_page(nodes, parameters, ROOT), "config/sros2/policies.xml": policy}
    stale = False
    for name, text in documents.items():
        file = args.root / name
        before = file.read_text() if file.exists() else ""
        if before != text and args.check:
            stale = True
            print(f"{name} is out of date; `make docs` writes it anew:", file=sys.stderr)
            changes = difflib.unified_diff(before.splitlines(), text.splitlines(), "now", "expected", lineterm="", n=0)
            print("\n".join(changes), file=sys.stderr)
        elif before != text:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            print(f"wrote {name}")
    return int(stale)


def documented_nodes() -> tuple[dict[str, Interfaces], dict[str, list[ParameterFacts]]]:
    """Interfaces (of all variants together) and parameters of the nodes that users start, by node name."""
    nodes: dict[str, Interfaces] = {}
    parameters: dict[str, list[ParameterFacts]] = {}
    for variant in VARIANTS:
        with Running({"gld_node": variant}) as running:
            gld_node = running.gld_node()
            nodes["gld_node"] = nodes.get("gld_node", Interfaces()) | running.interfaces(gld_node)
            if not variant:
                parameters["gld_node"] = parameters_of(gld_node)
                dashboard = running.dashboard("image")
                nodes["gld_dashboard"] = running.interfaces(dashboard)
                parameters["gld_dashboard"] = parameters_of(dashboard)
    for variant in ({}, {"compressed": True, "stamps": "recorded", "use_sim_time": True}):
        with Running({"gld_sim_camera": variant, "gld_replay": variant}) as running:
            for node in (running.add(SimCameraNode()), running.replay()):
                name = node.get_name()
                nodes[name] = nodes.get(name, Interfaces()) | running.interfaces(node)
                if not variant:
                    parameters[name] = parameters_of(node)
    for name, own in NOT_DEFAULT.items():
        parameters[name] = [replace(f, default=own.get(f.name, f.default)) for f in parameters[name]]
    return nodes, parameters


def demo_nodes() -> dict[str, Interfaces]:
    """The nodes of demo.launch.py and of `make demo`, with its camera, and the dashboard, all running together."""
    topics = camera_topics("camera")
    parameters: dict[str, dict[str, Any]] = {
        "gld_node": {"image_topics": [topics.image], "camera_info_topics": [topics.camera_info]},
        "gld_sim_camera": {"stamps": "recorded"},
        "gld_replay": {"stamps": "recorded"},
    }
    with Running(parameters, namespace="/") as running:
        nodes = [running.gld_node(), running.add(SimCameraNode()), running.replay()]
        nodes += [running.demo_client(), running.dashboard(topics.image)]
        return {node.get_name(): running.interfaces(node) for node in nodes}


class Running:
    """Nodes of this process, ended on leaving. parameters: of each by its name."""

    def __init__(self, parameters: dict[str, dict[str, Any]], namespace: str = "") -> None:
        self._parameters, self._namespace = parameters, namespace or next(NAMESPACES)

    def __enter__(self) -> Running:
        self._folder = tempfile.TemporaryDirectory()
        self._nodes: list[Node] = []
        self._client: GLDClient | None = None
        self._recorder: Recorder | None = None
        sequence = {"sequence": str(write_folder(Path(self._folder.name) / "sequence", [_small_view()]))}
        parameters = {**self._parameters, "gld_replay": {**self._parameters.get("gld_replay", {}), **sequence}}
        parameters["gld_dashboard"] = {"port": 0}  # any that is free
        prefix = self._namespace.rstrip("/")
        file = Path(self._folder.name) / "parameters.yaml"
        file.write_text(json.dumps({f"{prefix}/{n}": {"ros__parameters": p} for n, p in parameters.items() if p}))
        arguments = ["-r", f"__ns:={self._namespace}", "--params-file", str(file), "--log-level", "warn"]
        rclpy.init(args=["--ros-args", *arguments])
        return self

    def __exit__(self, *_: object) -> None:
        if self._recorder is not None:
            self._recorder.close()
        if self._client is not None:
            self._client.close()
        for node in self._nodes:
            if isinstance(node, (GLDNode, DashboardNode)):
                node.close()
            node.destroy_node()
        rclpy.shutdown()
        self._folder.cleanup()

    def add(self, node: Any) -> Any:
        self._nodes.append(node)
        return node

    def gld_node(self) -> GLDNode:
        """Configured and active."""
        node = self.add(GLDNode())
        node.autostart()
        return node

    def replay(self) -> ReplayNode:
        """Of a sequence with one frame."""
        return self.add(ReplayNode())

    def dashboard(self, image: str) -> DashboardNode:
        """As if somebody had its page open, once it listens to the camera `image`, too."""
        node = self.add(DashboardNode())
        while image not in {endpoint.name for endpoint in self.interfaces(node).subscribes}:
            node.watch(True)
            time.sleep(0.05)
        return node

    def demo_client(self) -> Node:
        """The demo's own node, once it records every topic there is."""
        node = Node("gld_demo")
        self._recorder = recorder = Recorder(node, Path(self._folder.name) / "bag")
        self._client = GLDClient(node=node)

        def everything_recorded() -> bool:
            topics = {name for name, _ in node.get_topic_names_and_types() if node.count_publishers(name)}
            left = {name for name in topics - recorder.subscribed if "/_action/" not in name}
            return bool(recorder.subscribed) and left <= set(NOT_RECORDED)

        self._client.wait(everything_recorded, 30.0, "topics to record")
        return node

    def interfaces(self, node: Node) -> Interfaces:
        return interfaces_of(node, node.get_name(), self._namespace)


def _small_view() -> SourceView:
    K = np.array([[20.0, 0, 16], [0, 20, 12], [0, 0, 1]])
    depth = np.ones((24, 32), np.float32)
    return SourceView(np.zeros((24, 32, 3), np.uint8), Camera(K, np.eye(4), 32, 24), 1, depth)


if __name__ == "__main__":
    allocator.ensure()
    sys.exit(main())
