# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Where figures come from: the revision of the code, and the machine."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

import gld_ros


def git_revision() -> str:
    """Commit of this checkout, "-dirty" where it has changes; the package's version outside a checkout of it."""
    root = Path(gld_ros.__file__).resolve().parents[1]

    def git(*arguments: str) -> str:
        found = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=20)
        return found.stdout.strip() if found.returncode == 0 else ""

    try:
        # It may be installed inside somebody else's repository.
        top = git("rev-parse", "--show-toplevel")
        found = git("describe", "--always", "--dirty", "--abbrev=40") if top and Path(top).resolve() == root else ""
    except (OSError, subprocess.TimeoutExpired):
        found = ""
    return found or gld_ros.__version__


def hardware() -> dict[str, Any]:
    """Processor, threads, GPU and version of torch."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cpu": cpu_name(),
        "cores": cores,
        "threads": torch.get_num_threads(),
        "gpu": gpu,
        "torch": torch.__version__,
    }


def cpu_name() -> str:
    """The name that Linux gives the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
