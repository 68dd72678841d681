"""Allocator settings for torch on a CPU; set before the process does any work.

glibc returns every freed block of more than 128 KiB to the kernel and asks for it again at the next use. A network's
activations are many megabytes each, so that each layer of each step pays for fresh, zeroed pages: page faults cost
more than the arithmetic. These settings keep freed memory in the process. glibc reads them at start only, hence a
process without them starts itself again, once. The Makefile exports the same values for all it runs.
"""

from __future__ import annotations

import os
import sys

SETTINGS = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),  # blocks below 1 GiB come from the heap, not from mmap
    "MALLOC_TRIM_THRESHOLD_": str(4 << 30),  # the heap shrinks only when more than 4 GiB lie free at its top
    "MALLOC_TOP_PAD_": str(64 << 20),  # and grows by 64 MiB at a time
}


def ensure() -> None:
    """Start this process again with SETTINGS where the environment has none of its own; call before importing torch.

    Does nothing except under Linux, or where a value is missing after all (a second start would not help).
    """
    missing = {name: value for name, value in SETTINGS.items() if name not in os.environ}
    if missing and sys.platform == "linux":
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **missing})
