# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Every figure of docs/performance.md by one command: `gld bench all`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from gld_ros.generators.presets import NAMES

#: The robot's request, and the paper's.
ROBOT = ["--views", "2+1", "--size", "504x280"]
SCENE = ["--views", "2+6", "--size", "504x504"]


def commands(cuda: bool, released: str, official: Path | None = None) -> Iterator[tuple[str, list[str]]]:
    """(name, arguments of `gld bench`) of every benchmark. released: gld-da3, or the folder of its weights.

    cuda: with those that need a GPU. official: folder of the official code, to compare with.
    """
    presets, exact = ["--preset", *NAMES], ["--preset", "exact"]
    mini = ["mini", "--device", "cpu", "--views", "2+1", "--size", "320x240"]
    yield "mini-latency", ["latency", *mini, *presets, "--repeat", "50", "--plain"]
    yield "mini-scaling", ["scaling", "mini", "--device", "cpu"]
    yield "mini-quality", ["quality", "mini", "--device", "cpu", "--split", "test", "--scenes", "200"]
    yield "mini-budget", ["budget", *mini]
    yield "node", ["node", "--frames", "10000", "--size", "1280x720", "--requests", "50"]
    for cameras in ("2", "4"):
        yield f"node-{cameras}", ["node", "--cameras", cameras, "--frames", "1000", "--size", "1280x720"]
    yield "node-1080p", ["node", "--frames", "1000", "--size", "1920x1080"]
    if not cuda:
        return
    gpu = [released, "--device", "cuda", "--dtype", "bfloat16"]
    compare = ["--compare", str(official)] if official else []
    yield "scene", ["latency", *gpu, *SCENE, "--steps", "49", "--repeat", "5", *exact, "--compile", *compare]
    yield "robot", ["latency", *gpu, *ROBOT, *presets, "--repeat", "30", "--compile"]
    yield "robot-eager", ["latency", *gpu, *ROBOT, *presets, "--repeat", "30"]
    yield "robot-offload", ["latency", *gpu, *ROBOT, *exact, "--offload", "sequential"]
    yield "robot-memory", ["memory", *gpu, *ROBOT]
    yield "robot-memory-offload", ["memory", *gpu, *ROBOT, "--offload", "sequential"]
    yield "scaling", ["scaling", *gpu]
    yield "budget", ["budget", *gpu, *ROBOT]
    yield "quality", ["quality", *gpu, "--scenes", "8"]


def run(out: Path, cuda: bool, released: str, official: Path | None = None) -> dict[str, int]:
    """All commands, one after the other, each in a process of its own and into OUT/NAME; name -> exit code."""
    codes = {}
    for name, arguments in commands(cuda, released, official):
        folder = out / name
        folder.mkdir(parents=True, exist_ok=True)
        print(f"== gld bench {' '.join(arguments)}", file=sys.stderr, flush=True)
        command = [sys.executable, "-m", "gld_ros.cli", "bench", *arguments, "--out", str(folder)]
        codes[name] = subprocess.run(command).returncode
    return codes
