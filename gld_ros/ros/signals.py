# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""SIGINT and SIGTERM of a node's process: the first one ends it, further ones change nothing."""

from __future__ import annotations

import signal
from typing import Any

from rclpy.signals import uninstall_signal_handlers


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
