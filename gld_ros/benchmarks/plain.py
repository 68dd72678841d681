# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The plain path to compare with: eager, float32, sources encoded for every request, glibc's allocator as it comes.

    python -m gld_ros.benchmarks.plain MODEL DEVICE SOURCES TARGETS WIDTH HEIGHT REPEAT

measures it in this process, which is to have none of `gld_ros.allocator`'s settings, and prints JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from gld_ros.allocator import SETTINGS
from gld_ros.benchmarks.latency import measure
from gld_ros.benchmarks.requests import Shape, Variant
from gld_ros.errors import ModelError
from gld_ros.generators.presets import EXACT
from gld_ros.pipeline.pipeline import GLDPipeline


def measure_plain(folder: Path, device: str, shape: Shape, repeat: int) -> dict[str, Any]:
    """Figures of `latency.measure`, from a process of its own. Raises ModelError where that fails."""
    H, W = shape.size
    numbers = [shape.sources, shape.targets, W, H, repeat]
    command = [sys.executable, "-m", "gld_ros.benchmarks.plain", str(folder), device, *map(str, numbers)]
    environment = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment)
    if done.returncode:
        raise ModelError(f"the plain path's process ended with exit code {done.returncode}; its reason is above")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main(arguments: list[str]) -> None:
    """Measure and print; see above."""
    folder, device, *numbers = arguments
    sources, targets, W, H, repeat = map(int, numbers)
    pipe = GLDPipeline.from_pretrained(folder, device, "float32", local_files_only=True)
    row = measure(pipe, Shape(sources, targets, (H, W)), Variant("plain", {"preset": EXACT.name}), repeat)
    print(json.dumps(row))


if __name__ == "__main__":
    main(sys.argv[1:])
