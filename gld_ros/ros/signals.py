# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A node as a process. SIGINT and SIGTERM: the first one ends it, further ones change nothing."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import rclpy
from rclpy.exceptions import InvalidParameterException, ParameterException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.signals import uninstall_signal_handlers

from gld_ros.errors import GLDError

_NOWHERE = open(os.devnull, "w")  # stays open: faulthandler keeps only its number
SIGNALS = (signal.SIGINT, signal.SIGTERM)
EXIT_TIMEOUT = 2.6  # seconds after a signal at which the process ends, whatever it is in the middle of
HANG_TIMEOUT = 10.0  # seconds after which a process that only has to clean up ends


def start(args: list[str] | None = None) -> None:
    """rclpy.init. From now on both signals shut the context down and interrupt nothing: an exception in the middle of
    rclpy leaves half-made subscriptions. The process ends `EXIT_TIMEOUT` after a signal at the latest."""
    came: list[int] = []
    for each in SIGNALS:  # rclpy's own handlers shut the context down and then call these
        signal.signal(each, lambda number, frame: came.append(number))
    rclpy.init(args=args)
    if came:
        rclpy.try_shutdown()
    threading.Thread(target=_end_in_time, name="gld_exit", daemon=True).start()


def _end_in_time() -> None:
    """End the process where loading a model or a hanging kernel keeps it."""
    while rclpy.ok():
        time.sleep(0.1)
    time.sleep(EXIT_TIMEOUT)
    os._exit(0)


def ignore_signals() -> None:
    """Ignore both signals from now until the process has ended. Call first when a node ends.

    Fast DDS 2.14 may wait for itself without end, holding Python's lock, where a participant goes while it is told of
    another one (DomainParticipant::set_listener). A thread of C then ends the process with status 1.
    """
    faulthandler.dump_traceback_later(HANG_TIMEOUT, exit=True, file=_NOWHERE)
    uninstall_signal_handlers()
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def run(name: str, make_node: Callable[[], Any], args: list[str] | None = None) -> int:
    """Run a node until SIGINT, SIGTERM or until its `error` is one; then `close` it. Returns the exit code. Settings
    that cannot be are one line on stderr."""
    start(args)
    executor = SingleThreadedExecutor()
    node = None
    try:
        node = make_node()
        executor.add_node(node)
        while node.error is None:
            executor.spin_once(timeout_sec=0.5)
    except ExternalShutdownException:
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
