# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How `gld batch` keeps views. A writer is a module named as the format, with a function `write`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import cast

from gld_ros.data.sequence import Sequence
from gld_ros.views import View


@dataclass(frozen=True)
class Shot:
    """One view with its camera's name and its stamp (ns)."""

    view: View
    camera_name: str
    stamp: int


#: (folder, sequence, views): writes the views into the folder, one after the other, as they are made.
Writer = Callable[[Path, Sequence, Iterable[Shot]], None]


def writer(name: str) -> Writer:
    """The function `write` of the module of a format."""
    return cast(Writer, import_module(f"gld_ros.batch.writers.{name}").write)
