# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The bond with Nav2's lifecycle manager over DDS, against an end that says what each test wants to be said."""

import threading
import time
from pathlib import Path

import pytest
import yaml
from bond.msg import Status
from lifecycle_msgs.msg import Transition
from rclpy.parameter import Parameter
from robot import PATIENCE, NodeThread

from gld_ros.ros.node import bond
from gld_ros.ros.node.bond import State
from gld_ros.ros.node.parameters import Parameters

EXAMPLE = Path(__file__).parents[2] / "config" / "nav2_lifecycle.yaml"
AT_REST = 0.6  # seconds, six heartbeats


class Manager:
    """The other end of a bond. heard: what came from gld_node."""

    def __init__(self, robot, instance="manager", id="gld_node"):
        self._node, self._instance, self._id = robot.node, instance, id
        self._robot, self.heard = robot, []
        self._publisher = self._node.create_publisher(Status, "bond", 10)
        self._subscription = self._node.create_subscription(Status, "bond", self._hear, 100)
        self._timer = self._node.create_timer(0.05, lambda: self.say(True), autostart=False)

    def _hear(self, msg):
        if msg.id == "gld_node" and msg.heartbeat_period > 0:
            self.heard.append(msg)

    def say(self, active):
        self._publisher.publish(Status(id=self._id, instance_id=self._instance, active=active))

    def beat(self):
        self._timer.reset()

    def fall_silent(self):
        self._timer.cancel()

    def die(self):
        self.fall_silent()
        self.say(False)

    def hears(self, active, count=3):
        """Wait for so many more messages; returns them."""
        seen = len(self.heard)

        def more():
            return [msg for msg in self.heard[seen:] if msg.active == active][:count]

        self._robot.wait(lambda: len(more()) == count, f"{count} messages of active={active}")
        return more()

    def hears_no_more(self):
        """Whether gld_node is silent, once what was on its way has come."""
        time.sleep(AT_REST / 2)
        seen = len(self.heard)
        time.sleep(AT_REST)
        return len(self.heard) == seen

    def close(self):
        self._node.destroy_timer(self._timer)
        self._node.destroy_subscription(self._subscription)
        self._node.destroy_publisher(self._publisher)


@pytest.fixture(scope="module")
def node(robot):
    """gld_node, configured, in this process: its executor can be made to hang."""
    with NodeThread(autostart=False) as running:
        assert robot.transition(Transition.TRANSITION_CONFIGURE)
        yield running.node


@pytest.fixture
def manager(robot):
    manager = Manager(robot)
    yield manager
    manager.close()


@pytest.fixture
def active(robot, node, manager):
    """gld_node, active; nobody has answered its heartbeats."""
    assert robot.transition(Transition.TRANSITION_ACTIVATE)
    yield node
    if node.state == "active":
        assert robot.transition(Transition.TRANSITION_DEACTIVATE)
    manager.die()
    robot.wait(lambda: not topics(node), "the end of the topic")


@pytest.fixture
def bonded(robot, active, manager):
    manager.beat()
    robot.wait(lambda: active.bond.state is State.ALIVE, "bond")
    return active


def topics(node):
    """Whether the node publishes or subscribes the topic of bonds."""
    of = (node.get_publisher_names_and_types_by_node, node.get_subscriber_names_and_types_by_node)
    return [name for names in of for name, _ in names(node.get_name(), "/") if name == "/bond"]


def test_it_forms_once_the_manager_answers(robot, active, manager):
    (first, *_) = manager.hears(True)
    assert active.bond.state is State.WAITING_FOR_SISTER
    manager.beat()
    robot.wait(lambda: active.bond.state is State.ALIVE, "bond")
    (beat, *_) = manager.hears(True)
    assert first.instance_id == beat.instance_id and first.id == "gld_node"
    assert (beat.heartbeat_period, beat.heartbeat_timeout) == pytest.approx((0.1, 4.0))


def test_deactivating_ends_it_and_says_so_until_the_manager_knows(robot, bonded, manager):
    (beat,) = manager.hears(True, 1)
    assert robot.transition(Transition.TRANSITION_DEACTIVATE)
    ends = manager.hears(False, 5)
    assert {msg.instance_id for msg in ends} == {beat.instance_id}
    assert bonded.bond.state is State.AWAIT_SISTER_DEATH
    manager.die()
    robot.wait(lambda: not topics(bonded), "the end of the topic")
    assert bonded.bond.state is State.DEAD and manager.hears_no_more()


def test_a_manager_that_never_knows_is_told_for_a_while(robot, bonded, manager, monkeypatch):
    monkeypatch.setattr(bond, "DISCONNECT_TIMEOUT", 0.3)
    assert robot.transition(Transition.TRANSITION_DEACTIVATE)
    robot.wait(lambda: not topics(bonded), "the end of the topic")
    assert bonded.bond.state is State.DEAD


def test_activated_again_at_once_it_is_another_bond(robot, bonded, manager):
    manager.fall_silent()
    (old,) = manager.hears(True, 1)
    assert robot.transition(Transition.TRANSITION_DEACTIVATE)
    manager.heard.clear()
    assert robot.transition(Transition.TRANSITION_ACTIVATE)
    (new, *_) = manager.hears(True)
    assert new.instance_id != old.instance_id
    after = manager.heard[manager.heard.index(new) :]
    assert {(msg.instance_id, msg.active) for msg in after} == {(new.instance_id, True)}
    manager.beat()
    robot.wait(lambda: bonded.bond.state is State.ALIVE, "bond")


def test_the_manager_may_end_it(bonded, manager):
    manager.die()
    manager.hears(False, 1)
    manager.say(False)  # it has not heard the answer
    manager.hears(False, 1)
    assert manager.hears_no_more()
    assert bonded.state == "active" and bonded.bond.state is State.DEAD


def test_a_silent_manager_is_logged_and_the_node_goes_on(robot, active, manager, monkeypatch, capfd):
    monkeypatch.setattr(bond, "HEARTBEAT_TIMEOUT", 0.3)
    manager.beat()
    robot.wait(lambda: active.bond.state is State.ALIVE, "bond")
    manager.fall_silent()
    log = []
    robot.wait(lambda: log.append(capfd.readouterr().err) or "manager is silent" in "".join(log), "warning")
    manager.hears(True)
    assert active.state == "active" and active.bond.state is State.ALIVE


def test_without_a_manager_the_heartbeats_end(robot, node, manager, monkeypatch):
    monkeypatch.setattr(bond, "CONNECT_TIMEOUT", 0.3)
    assert robot.transition(Transition.TRANSITION_ACTIVATE)
    manager.hears(True, 1)
    assert manager.hears_no_more()
    assert node.state == "active" and node.bond.state is State.DEAD
    assert robot.transition(Transition.TRANSITION_DEACTIVATE)
    assert not topics(node)


def test_a_hung_executor_beats_no_more(bonded, manager):
    manager.hears(True)
    hangs, end = threading.Event(), threading.Event()

    def hang():
        hangs.set()
        end.wait(PATIENCE)

    timer = bonded.create_timer(0.01, hang)
    try:
        assert hangs.wait(PATIENCE)
        assert manager.hears_no_more()
    finally:
        end.set()
        bonded.destroy_timer(timer)
    manager.hears(True)


def test_a_simulated_clock_that_stands_still_does_not_stop_it(bonded, manager):
    bonded.set_parameters([Parameter("use_sim_time", value=True)])
    try:
        assert bonded.get_clock().now().nanoseconds == 0
        manager.hears(True)
    finally:
        bonded.set_parameters([Parameter("use_sim_time", value=False)])


def test_others_do_not_end_it(robot, bonded, manager):
    others = [Manager(robot, id="planner_server"), Manager(robot, instance="third")]
    for other in others:
        for _ in range(3):
            other.say(False)
    manager.hears(True)
    assert bonded.bond.state is State.ALIVE
    for other in others:
        other.close()


def test_a_period_of_zero_makes_no_topic():
    with NodeThread(bond_heartbeat_period=0.0, __node="unwatched") as running:
        assert running.node.state == "active" and not topics(running.node)


def test_the_example_for_the_manager_fits_the_node():
    (manager,) = [section["ros__parameters"] for section in yaml.safe_load(EXAMPLE.read_text()).values()]
    assert manager["node_names"] == ["gld_node"]
    assert manager["bond_timeout"] > 10 * Parameters().bond_heartbeat_period
