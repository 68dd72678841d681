# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A node as a process. SIGINT and SIGTERM: the first one ends it, further ones change nothing."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from typing import Any

import rclpy
from rclpy.exceptions import InvalidParameterException, ParameterException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.signals import uninstall_signal_handlers

from gld_ros.errors import GLDError


def interrupt_once() -> None:
    """Have the first SIGINT raise KeyboardInterrupt in the main thread, and no later one. Call before rclpy.init, whose
    own handlers shut the context down and then call this one."""
    interrupted = False

    def handler(number: int, frame: Any) -> None:
        nonlocal interrupted
        if not interrupted:
            interrupted = True
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, handler)


def ignore_signals() -> None:
    """Ignore both signals from now until the process has ended. Call first when a node ends."""
    uninstall_signal_handlers()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def run(name: str, make_node: Callable[[], Any], args: list[str] | None = None) -> int:
    """Run a node until SIGINT, SIGTERM or until its `error` is one; then `close` it. Returns the exit code. Settings
    that cannot be are one line on stderr."""
    interrupt_once()
    rclpy.init(args=args)
    executor = SingleThreadedExecutor()
    node = None
    try:
        node = make_node()
        executor.add_node(node)
        while node.error is None:
            executor.spin_once(timeout_sec=0.5)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except (GLDError, ValueError, ParameterException, InvalidParameterException) as error:
        if node is not None:
            raise
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    except Exception:  # a signal shuts the context down in the middle of whatever is asked of it: that fails then
        if rclpy.ok():
            raise
    finally:
        ignore_signals()
        if node is not None:
            node.close()
        executor.shutdown(timeout_sec=1.0)
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()
    return 1 if node is not None and node.error is not None else 0
