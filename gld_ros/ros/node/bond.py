# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Nav2's watch over a node: a bond, that is heartbeats of two ends on one topic (protocol: bond_core's BondSM).

The lifecycle manager takes a node for dead whose heartbeats stop. They come from a timer of the node's executor, so
that they stop where it hangs, and by the steady clock, so that they go on while a simulated clock stands still.
"""

from __future__ import annotations

import math
import time
import uuid
from enum import Enum, auto
from functools import partial
from itertools import islice

from bond.msg import Constants, Status
from rclpy.callback_groups import CallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.subscription import Subscription
from rclpy.timer import Timer

from gld_ros.ros.declarations import publisher
from gld_ros.ros.node.counters import Throttle
from gld_ros.ros.node.guards import RCLError
from gld_ros.ros.node.topics import INTERFACE

TOPIC = "bond"  # relative, as Nav2 has it: the manager is in the node's namespace
CONNECT_TIMEOUT: float = Constants.DEFAULT_CONNECT_TIMEOUT
DISCONNECT_TIMEOUT: float = Constants.DEFAULT_DISCONNECT_TIMEOUT
HEARTBEAT_TIMEOUT: float = Constants.DEFAULT_HEARTBEAT_TIMEOUT
DEPTH = 1000  # messages between two beats: each node of Nav2 and its manager send on the one topic


class State(Enum):
    """The state of this end, as in BondSM; the other end is the sister."""

    WAITING_FOR_SISTER = auto()
    ALIVE = auto()
    AWAIT_SISTER_DEATH = auto()
    DEAD = auto()


class Unwatched(CallbackGroup):
    """The events of a subscription whose messages are taken from time to time, and wake no executor."""

    def can_execute(self, entity: object) -> bool:
        return False

    def beginning_execution(self, entity: object) -> bool:
        return False

    def ending_execution(self, entity: object) -> None:
        pass


class Bond:
    """This node's end, from `start` (activate) to `stop` (deactivate). The bond's id is the node's name.

    As with Nav2's own nodes (nav2_util's LifecycleNode) it is the manager who watches. Where the manager ends the bond
    the heartbeats end, where it falls silent they go on; the node stays active and says so in the log.

    Messages are taken once a beat: a callback for each took 6 % of a core beside ten bonds of others, this 1.6 %.
    """

    def __init__(self, node: Node, warn: Throttle) -> None:
        self.state = State.DEAD
        self._node, self._log, self._warn = node, node.get_logger(), warn
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._publisher: Publisher | None = None
        self._subscription: Subscription | None = None
        self._timer: Timer | None = None

    def start(self, period: float) -> None:
        """Beat, and wait for the manager. period: seconds between heartbeats; 0 makes no bond and no topic."""
        self._destroy()  # an earlier one may still wait for an answer
        if period == 0:
            return
        self._period = period
        self._instance, self._sister = str(uuid.uuid4()), ""
        self._sister_died_first = False
        self._enter(State.WAITING_FOR_SISTER, CONNECT_TIMEOUT)
        self._publisher = publisher(self._node, INTERFACE, TOPIC)
        self._subscription = self._node.create_subscription(
            Status, TOPIC, self._on_status, DEPTH, callback_group=Unwatched()
        )
        self._timer = self._node.create_timer(period, self._tick, clock=self._steady)

    def stop(self) -> None:
        """End the bond: tell the manager until it has heard it, for at most DISCONNECT_TIMEOUT."""
        if self._timer is None or self.state is State.AWAIT_SISTER_DEATH:
            return
        if self.state is State.ALIVE:
            self._enter(State.AWAIT_SISTER_DEATH, DISCONNECT_TIMEOUT)
            self._say(False)
            self._timer.timer_period_ns = Constants.DEAD_PUBLISH_PERIOD * 1e9
            self._timer.reset()
            return
        if self.state is State.WAITING_FOR_SISTER:
            self._say(False)
        self._destroy()

    def _tick(self) -> None:
        for msg in self._received():
            self._on_status(msg)
        if self._timer is None:  # the sister knows that it is over
            return
        late = time.monotonic() > self._deadline
        if self.state is State.AWAIT_SISTER_DEATH:
            if late:
                self._destroy()
            else:
                self._say(False)
        elif self.state is State.DEAD:
            if late:  # it repeats itself no longer
                self._timer.cancel()
        elif self.state is State.WAITING_FOR_SISTER and late:
            self._log.info(f"no lifecycle manager asked for a bond within {CONNECT_TIMEOUT:g} s: no more heartbeats")
            self.state = State.DEAD
        else:
            self._say(True)
            self._unheard += 1  # beats, not seconds: a pause of this node is none of the manager's
            if self.state is State.ALIVE and self._unheard == math.ceil(HEARTBEAT_TIMEOUT / self._period):
                self._warn("bond", f"the lifecycle manager is silent for {HEARTBEAT_TIMEOUT:g} s; the node goes on")

    def _received(self) -> list[Status]:
        assert self._subscription is not None
        with self._subscription.handle:
            take = partial(self._subscription.handle.take_message, Status, False)
            return [msg for msg, _ in islice(iter(take, None), DEPTH)]

    def _on_status(self, msg: Status) -> None:
        if msg.id != self._node.get_name() or msg.instance_id == self._instance:
            return
        self._sister = self._sister or msg.instance_id
        if msg.instance_id != self._sister:
            self._warn("bond", f"more than two ends use the bond '{msg.id}': are there two nodes of this name?")
            return
        self._unheard = 0
        if not msg.active:
            self._on_death()
        elif self.state is State.WAITING_FOR_SISTER:
            self.state = State.ALIVE
            self._log.info("bond with the lifecycle manager formed")

    def _on_death(self) -> None:
        if self.state is State.AWAIT_SISTER_DEATH:
            self._destroy()
            return
        if self.state is not State.DEAD:
            self._log.warning("the lifecycle manager ended the bond; the node goes on")
            self._enter(State.DEAD, DISCONNECT_TIMEOUT)
            self._sister_died_first = True
        if self._sister_died_first:  # it repeats itself until it is answered
            self._say(False)

    def _enter(self, state: State, timeout: float) -> None:
        self.state, self._deadline, self._unheard = state, time.monotonic() + timeout, 0

    def _say(self, active: bool) -> None:
        assert self._publisher is not None
        msg = Status(id=self._node.get_name(), instance_id=self._instance, active=active)
        msg.header.stamp = self._node.get_clock().now().to_msg()
        msg.heartbeat_timeout, msg.heartbeat_period = HEARTBEAT_TIMEOUT, self._period
        try:
            self._publisher.publish(msg)
        except RCLError:
            if self._node.context.ok():  # after a signal nobody can be told: the manager misses the heartbeats
                raise

    def _destroy(self) -> None:
        self.state = State.DEAD
        if self._timer is not None:
            self._node.destroy_timer(self._timer)
            assert self._subscription is not None and self._publisher is not None
            self._node.destroy_subscription(self._subscription)
            self._node.destroy_publisher(self._publisher)
            self._timer = self._subscription = self._publisher = None
