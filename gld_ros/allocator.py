# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Allocator settings for torch on a CPU.

glibc returns large freed blocks to the kernel and asks for them again at the next use. A network's activations are
many megabytes each, so that every layer of every step pays for fresh, zeroed pages: page faults cost more than the
arithmetic. These settings keep freed memory in the process. glibc reads them when a process starts, hence one without
them starts itself again, once. The Makefile exports the same values to all it runs.
"""

from __future__ import annotations

import os
import sys

SETTINGS = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),  # blocks below 1 GiB come from the heap, not from mmap
    "MALLOC_TRIM_THRESHOLD_": str(4 << 30),  # the heap shrinks only when more than 4 GiB lie free at its top
    "MALLOC_TOP_PAD_": str(64 << 20),  # it grows by at least 64 MiB at a time
    "MALLOC_ARENA_MAX": "1",  # worker threads use it too: heaps of their own end at 64 MiB, larger blocks are mmapped
}


def ensure() -> None:
    """Start this process again with those of SETTINGS that the environment lacks; call before importing torch.

    The caller's own values stay. Returns if nothing is lacking, and on systems without glibc's settings.
    """
    lacking = {name: value for name, value in SETTINGS.items() if name not in os.environ}
    if lacking and sys.platform == "linux":
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **lacking})
