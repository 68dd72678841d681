# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`gld_node`: posed camera images in, views the camera never took out."""

from __future__ import annotations

import os
import time
from typing import Any

import rclpy
import tf2_ros
from rcl_interfaces.msg import SetParametersResult
from rclpy.exceptions import InvalidParameterException, ParameterException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from std_srvs.srv import Trigger

from gld_ros.ros.declarations import read
from gld_ros.ros.node.bond import Bond
from gld_ros.ros.node.drift_check import RealityChecker
from gld_ros.ros.node.fallbacks import Fallbacks
from gld_ros.ros.node.following import Following
from gld_ros.ros.node.guards import RCLError, guard_services, said, spin
from gld_ros.ros.node.health import Health, age_values, model_values
from gld_ros.ros.node.map_outputs import MapOutputs
from gld_ros.ros.node.outputs import Outputs
from gld_ros.ros.node.parameters import Parameters, declare_parameters
from gld_ros.ros.node.poses import follow_map_frame
from gld_ros.ros.node.requests import RequestServer
from gld_ros.ros.node.session import Configured, Session, give_memory_back
from gld_ros.ros.node.shared import Shared
from gld_ros.ros.signals import ignore_signals, start

STOP_TIMEOUT = 2.0  # seconds that all threads together get to end; a step of the model is mostly shorter


class GLDNode(LifecycleNode):
    """Lifecycle node. configure: load the model and warm it up; activate: subscribe and answer requests.

    One executor thread runs all callbacks, which only enqueue; `Intake` and `Worker` have a thread each.
    """

    def __init__(self, **options: Any) -> None:
        """options: of `rclpy.node.Node`, such as cli_args. Raises as `declare_parameters` does."""
        super().__init__("gld_node", **options)
        try:
            parameters = declare_parameters(self)
        except Exception:
            self._leave_graph()
            raise
        self.shared = shared = Shared(self, parameters)
        self.counters, self.key_frames = shared.counters, shared.key_frames
        self.reality = RealityChecker(shared)
        self.maps = MapOutputs(shared, self.reality)
        self.outputs = Outputs(shared, self.maps)
        self.requests = RequestServer(shared, self.outputs)
        self.following = Following(shared, self.outputs, self.maps)
        self.fallbacks = Fallbacks(parameters.failure_folder, parameters.failure_keep, shared.warn)
        self.bond = Bond(self, shared.warn)
        self.health = Health(shared)
        self.configured: Configured | None = None
        self._buffer = tf2_ros.Buffer(node=self)  # one for good: each adds a callback to the clock, which stays
        self.pose_jumps = 0
        shared.serve("~/clear_context", self._on_clear)
        shared.timer(parameters.diagnostics_period, self._report)
        self.add_on_set_parameters_callback(self._check_parameters)
        self.add_post_set_parameters_callback(self._on_parameters)
        guard_services(self)

    @property
    def parameters(self) -> Parameters:
        """The present values."""
        return self.shared.parameters

    # ---- lifecycle

    @said
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        model = self.parameters.model
        self.get_logger().info(f"loading the model '{model}'")
        started = time.monotonic()
        try:
            self.configured = Configured(self.shared, self._buffer)
        except Exception as error:  # whatever is wrong with a model or device, the node must say it
            self.get_logger().error(f"cannot load the model '{model}': {type(error).__name__}: {error}")
            return TransitionCallbackReturn.FAILURE
        name = self.configured.pipe.name
        self.get_logger().info(f"model '{name}' is ready after {time.monotonic() - started:.1f} s")
        return super().on_configure(state)

    @said
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        assert self.configured is not None
        self.shared.session = Session(self.shared, self.configured, self.reality, self.fallbacks, self.health)
        self.bond.start(self.parameters.bond_heartbeat_period)
        return super().on_activate(state)

    @said
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._stop()
        assert self.configured is not None
        give_memory_back(self.shared, self.configured.pipe)
        return super().on_deactivate(state)

    @said
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._free()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._free()
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._free()
        return TransitionCallbackReturn.SUCCESS

    def autostart(self) -> None:
        """Configure and activate; what goes wrong is in the log, and the node waits to be configured again."""
        if self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
            self.trigger_activate()

    def close(self) -> bool:
        """End all threads; returns whether they did within STOP_TIMEOUT. Loading a model cannot be cut short."""
        end = time.monotonic() + STOP_TIMEOUT
        ended = [self._stop()]
        stops = (self.shared.worker.stop, self.maps.stop)
        ended += [stop(max(end - time.monotonic(), 0.1)) for stop in stops]
        if not all(ended):
            self.get_logger().warning(f"a worker is in the middle of its work after {STOP_TIMEOUT:g} s")
        return all(ended)

    def destroy_node(self) -> None:
        """With the action, for which rclpy leaves the node in the graph."""
        self.requests.destroy()
        self._leave_graph()

    def _leave_graph(self) -> None:
        """rclpy's destroy_node, and the lifecycle's services, for which it leaves the node in the graph."""
        super().destroy_node()
        self._state_machine.destroy_when_not_in_use()

    def _stop(self) -> bool:
        """Take no more in and answer nothing; returns whether the intake's thread ended."""
        session, self.shared.session = self.shared.session, None
        self.shared.worker.cancel_all("the node was deactivated")
        ended = session is None or session.intake.stop(STOP_TIMEOUT)
        self.bond.stop()
        return ended

    def _free(self) -> None:
        self._stop()
        self.key_frames.clear()
        self.reality.reset()
        configured, self.configured = self.configured, None
        if configured is not None:
            configured.close()
            del configured
            give_memory_back(self.shared)

    @property
    def state(self) -> str:
        """The state of the lifecycle: unconfigured, inactive, active, finalized, or on the way between two."""
        return self._state_machine.current_state[1]

    # ---- callbacks

    def _check_parameters(self, changes: list[Parameter]) -> SetParametersResult:
        if any(change.name == "model" for change in changes) and self.state == "active":
            return SetParametersResult(successful=False, reason="model cannot change while the node is active")
        return SetParametersResult(successful=True)

    def _on_parameters(self, _: object) -> None:
        self.shared.parameters = read(self, Parameters)
        self.key_frames.rules = self.parameters.key_frame_rules
        self.following.set_rate(self.parameters.follow_rate)
        self.maps.follow_parameters()

    def _on_clear(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.message = f"forgot {len(self.key_frames)} key frames"
        self.key_frames.clear()
        response.success = True
        return response

    def _follow_map_frame(self) -> None:
        p, session = self.parameters, self.shared.session
        if session is None:
            return
        limits = p.pose_jump_translation, p.pose_jump_rotation
        moved, dropped = follow_map_frame(self.key_frames, session.intake.pose_now, *limits)
        if moved or dropped:
            self.pose_jumps += 1
            self.get_logger().warning(
                f"the frame '{p.map_frame}' moved: {moved} key frames got new poses, {dropped} were dropped, what was "
                "made of them is forgotten"
            )

    def _report(self) -> None:
        self._follow_map_frame()
        frames = self.key_frames.frames()
        stamps = [frame.stamp for frame in frames]
        cameras = [frame.camera for frame in frames]
        self.outputs.frusta("sources", cameras, max(stamps, default=0))
        worker, session = self.shared.worker, self.shared.session
        values: dict[str, object] = {
            **model_values(self.configured.pipe if self.configured is not None else None),
            "working": worker.busy,
            "requests_waiting": worker.waiting,
            "images_waiting_for_pose": len(session.intake.pending) if session is not None else 0,
            "worker_crashes": worker.crashes,
            "made_with_less_memory": self.fallbacks.degraded,
            "failed_requests_kept": self.fallbacks.kept,
            "pose_jumps": self.pose_jumps,
            "key_frames": len(frames),
            **age_values(stamps, self.shared.now()),
            **self.requests.latencies.values(),
            "scale_residual": self.requests.scale_residual,
            "trust": f"{self.reality.trust:.3f}",
            **self.maps.report,
            **{f"answers_{code}": count for code, count in dict(self.requests.answers).items()},
        }
        self.health.report(self.state, values)


def main(args: list[str] | None = None) -> None:
    """Run the node until SIGINT or SIGTERM. Raises SystemExit with the reason where it cannot start: a parameter that
    cannot be, security that cannot be enforced."""
    try:
        start(args)
        node = GLDNode()
    except (ValueError, ParameterException, InvalidParameterException, RCLError) as error:
        rclpy.try_shutdown()
        raise SystemExit(f"gld_node cannot start: {error}") from None
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        if node.parameters.autostart:
            node.autostart()
        spin(executor, node)
    except ExternalShutdownException:
        pass
    except Exception:  # a signal shut the context down while the node configured itself
        if rclpy.ok():
            raise
    finally:
        ignore_signals()
        ended = node.close()
        executor.shutdown(timeout_sec=1.0)
        node.destroy_node()
        rclpy.try_shutdown()
    if not ended:
        os._exit(0)  # the interpreter's end would take from a thread what it works with
