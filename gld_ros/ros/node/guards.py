# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Where rclpy lets what a client sends end the process: answered, logged, and the node goes on."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from functools import partial, wraps
from typing import Any

import rclpy
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.msg import SetParametersResult
from rcl_interfaces.srv import SetParameters, SetParametersAtomically
from rclpy.executors import Executor, ExternalShutdownException
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

RCLError = rclpy_implementation.RCLError
Transition = Callable[[Any, LifecycleState], TransitionCallbackReturn]


def guard_services(node: LifecycleNode) -> None:
    """Have transitions that the state does not allow, and parameters of a type that is none, refused."""
    for service in [*node.services, node._service_change_state]:
        if service.srv_type in (ChangeState, SetParameters, SetParametersAtomically):
            service.callback = partial(_guarded, node, service.callback)


def forget_destroyed(node: LifecycleNode) -> None:
    """Drop what the callback group keeps of destroyed subscriptions: rclpy never does."""
    group = node.default_callback_group
    group.entities = {entity for entity in group.entities if entity() is not None}


def said(transition: Transition) -> Transition:
    """The callback of a transition; rclpy goes on to `on_error` without a word of what it raises: that is logged."""

    @wraps(transition)
    def callback(node: Any, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            return transition(node, state)
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            reason = f"{type(error).__name__}: {error} ({place.filename}:{place.lineno})"
            node.get_logger().error(f"{transition.__name__} failed: {reason}")
            raise

    return callback


def spin(executor: Executor, node: LifecycleNode) -> None:
    """Until the context is shut down; what a callback raises is logged."""
    while True:
        try:
            executor.spin()
        except ExternalShutdownException:
            return
        except Exception as error:
            if not rclpy.ok():  # a signal shuts the context down in the middle of whatever is being sent
                return
            node.get_logger().error(f"a callback failed with an unexpected {type(error).__name__}: {error}")
        else:
            return


def _guarded(node: LifecycleNode, answer: Callable[[Any, Any], Any], request: Any, response: Any) -> Any:
    try:
        return answer(request, response)
    except (RCLError, ValueError, TypeError) as error:
        reason = f"{type(error).__name__}: {error}"
        node.get_logger().error(f"{type(request).__name__} refused: {reason}")
        refused = SetParametersResult(successful=False, reason=reason)
        if isinstance(request, ChangeState.Request):
            response.success = False
        elif isinstance(request, SetParameters.Request):
            response.results = [refused for _ in request.parameters]
        else:
            response.result = refused
        return response
