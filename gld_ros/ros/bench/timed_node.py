# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`gld_node` as ever, which also prints when each part of its start began and ended, for `gld bench start`."""

from __future__ import annotations

import inspect
import json
import time
from collections.abc import Callable
from typing import Any

#: Begins each line that is meant for the benchmark.
MARK = "gld bench start: "
IMPORTS = "interpreter, imports"


def now() -> tuple[float, float]:
    """Seconds of the machine's monotonic clock, and of this process's CPU time."""
    return time.monotonic(), time.process_time()


def say(part: str, began: tuple[float, float]) -> None:
    """Print a part that ends now."""
    print(MARK + json.dumps([part, *began, *now()]), flush=True)


def time_calls(owner: Any, name: str, part: str) -> None:
    """Have every call of a function, or of a class's method, say its times."""
    called: Callable[..., Any] = getattr(owner, name)

    def timed(*args: Any, **kwargs: Any) -> Any:
        began = now()
        try:
            return called(*args, **kwargs)
        finally:
            say(part, began)

    setattr(owner, name, staticmethod(timed) if inspect.ismethod(called) else timed)


def main() -> None:
    """Run the node, all parts timed. Raises SystemExit as it does."""
    from gld_ros.generators.gld_family import GLD
    from gld_ros.pipeline.pipeline import GLDPipeline
    from gld_ros.ros.node import node

    say(IMPORTS, (0.0, 0.0))  # the parent knows when the process began
    time_calls(node, "start", "rclpy init")
    time_calls(node.GLDNode, "__init__", "node made")
    time_calls(node.GLDNode, "on_configure", "configure")
    time_calls(GLD, "load", "configure: files checked, networks built, weights mapped")
    time_calls(GLDPipeline, "warm_up", "configure: warm-up")
    time_calls(node.GLDNode, "on_activate", "activate")
    node.main()
