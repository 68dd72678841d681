# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Topic ~/reality_check of `gld_node`: what was generated against what is observed, and what follows."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from std_msgs.msg import Header

from gld_ros.msg import RealityCheck
from gld_ros.pipeline.pipeline import GLDPipeline
from gld_ros.ros.conversions import ns_to_stamp
from gld_ros.ros.node.shared import Shared
from gld_ros.scene.drift import DriftMonitor
from gld_ros.scene.drift_report import RealityConfig, RealityReport
from gld_ros.views import ObservedDepth, SourceView, View


class RealityChecker:
    """Judges each view, and remembers it for later ones; published is each check that had something to judge.

    With the parameter `reality_check` alone; its methods may be called from any thread.
    """

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        p = shared.parameters
        self._monitor = DriftMonitor(RealityConfig(tolerance=p.reality_tolerance, lifetime=p.reality_lifetime))
        self._lock = threading.Lock()
        self._jumps = 0  # as many as the monitor knows of
        self._publisher = shared.publisher("~/reality_check")

    @property
    def trust(self) -> float:
        """0..1, as in msg/RealityCheck."""
        return self._monitor.trust()

    def review(self, pipe: GLDPipeline, view: View, sources: Sequence[SourceView]) -> View:
        """`view`, fresh from `pipe`, with the confidence that its generated pixels deserve.

        What its `sources` show judges earlier views: by their own depth, or by what the view shows of them.
        """
        if not self._shared.parameters.reality_check:
            return view
        with self._lock:
            jumps = self._follow_jumps()
            awaited = self._monitor.awaits(max(source.stamp for source in sources))
        if awaited:
            observed = pipe.just_observed(sources)
            for found in observed:
                self.observe(found)
            if not observed:
                with self._lock:
                    report = self._monitor.observe_view(view)
                self._publish(report)
        with self._lock:
            if jumps == self._follow_jumps():
                self._monitor.remember(view)
            return self._monitor.trusted(view)

    def observe(self, found: ObservedDepth) -> None:
        """Judge earlier views by the depth of a key frame."""
        if not self._shared.parameters.reality_check:
            return
        with self._lock:
            self._follow_jumps()
            report = self._monitor.observe(found.depth, found.image, found.confidence, found.camera, found.stamp)
        self._publish(report)

    def _follow_jumps(self) -> int:
        """Forget all views if time or the map's frame jumped meanwhile; trust stays. Returns the number of jumps."""
        if self._jumps != (jumps := self._shared.key_frames.jumps):
            self._monitor.clear()
            self._jumps = jumps
        return jumps

    def reset(self) -> None:
        """Start anew: the next model has to be judged by itself."""
        with self._lock:
            self._monitor = DriftMonitor(self._monitor.config)

    def _publish(self, report: RealityReport | None) -> None:
        if report is not None:
            self._publisher.publish(report_to_msg(report, self._shared.parameters.map_frame))


def report_to_msg(report: RealityReport, map_frame: str) -> RealityCheck:
    """msg/RealityCheck of one check."""
    same = ("right", "ghosts", "missed", "hidden", "error", "colour_error", "trust")
    bins = {
        f"{kind}_{key}s": [getattr(bin, key) for bin in found]
        for kind, found in (("age", report.ages), ("distance", report.distances))
        for key in ("limit", "count", "error")
    }
    return RealityCheck(
        header=Header(stamp=ns_to_stamp(report.stamp), frame_id=map_frame),
        oldest=ns_to_stamp(report.oldest),
        newest=ns_to_stamp(report.newest),
        ghost_share=report.ghosts / report.judged,
        missed_share=report.missed / report.judged,
        **{name: getattr(report, name) for name in same},
        **bins,
    )
