# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Bad scenes: skipped, counted and named."""

from __future__ import annotations

import json
import logging
from pathlib import Path

log = logging.getLogger(__name__)


class Skipped:
    """Which scenes were skipped and why; each is logged once.

    file: a JSON-lines file that all processes (loader workers, ranks) append to, so that everybody's `scenes` are all
    of them; without one they are those of this process.
    """

    def __init__(self, file: str | Path | None = None) -> None:
        self.file = None if file is None else Path(file)
        self._reasons: dict[str, str] = {}

    def add(self, scene: str, reason: str) -> None:
        """Note that `scene` was skipped."""
        if scene in self._reasons:
            return
        self._reasons[scene] = reason
        log.warning("skipped %s: %s", scene, reason)
        if self.file is not None:
            # One short line a write: appends of several processes do not mix.
            with self.file.open("a") as stream:
                stream.write(json.dumps({"scene": scene, "reason": reason}) + "\n")

    @property
    def scenes(self) -> dict[str, str]:
        """Scene -> the first reason."""
        reasons = dict(self._reasons)
        if self.file is not None and self.file.exists():
            for line in self.file.read_text().splitlines():
                entry = json.loads(line)
                reasons.setdefault(entry["scene"], entry["reason"])
        return reasons

    def __len__(self) -> int:
        return len(self.scenes)

    def __str__(self) -> str:
        scenes = self.scenes
        lines = [f"skipped {len(scenes)} scenes" + ":" * bool(scenes)]
        return "\n".join(lines + [f"  {scene}: {reason}" for scene, reason in scenes.items()])
