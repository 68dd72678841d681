# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Service ~/profile of `gld_node`: where the time of one request goes, kernel by kernel."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rclpy.node import Node
from std_srvs.srv import Trigger
from torch.profiler import profile, supported_activities


class Profiler:
    """Records the next request after each call into `folder`, for chrome://tracing or Perfetto."""

    def __init__(self, node: Node, folder: str) -> None:
        self._folder, self._log, self._armed = Path(folder).expanduser(), node.get_logger(), False
        node.create_service(Trigger, "~/profile", self._on_call)

    def _on_call(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._armed = response.success = True
        response.message = f"the next request is recorded in {self._folder}"
        return response

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Around a request, in the worker's thread. A trace that cannot be written is an error in the log."""
        if not self._armed:
            yield
            return
        self._armed = False
        with profile(activities=supported_activities()) as trace:
            yield
        file = self._folder / f"profile_{time.time_ns():020d}.json"
        part = file.with_suffix(".part")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            trace.export_chrome_trace(str(part))
            part.rename(file)
        except (OSError, RuntimeError) as error:
            with suppress(OSError):
                part.unlink()
            self._log.error(f"the profile of a request cannot be written to {file}: {error}")
        else:
            self._log.info(f"the profile of a request is in {file}")
