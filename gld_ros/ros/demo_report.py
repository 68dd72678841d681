# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the demo says about itself: report.json, the files of the results, and a table."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from cv_bridge import CvBridge

from gld_ros.evaluation.comparison import nearest
from gld_ros.evaluation.results import Result, write_report, write_results
from gld_ros.ros.conversions import stamp_to_ns
from gld_ros.ros.scenario import Scenario


@dataclass
class Outcome:
    """What the requests gave. answers: (index of the target, response view) pairs; errors: answers that were none."""

    answers: list[tuple[int, Any]] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    path_requested: int = 0
    path_returned: int = 0
    path_feedback: int = 0


def message_table(node: str, counts: dict[str, dict[str, int]], recorded: dict[str, int]) -> dict[str, dict[str, int]]:
    """{topic: received, published, dropped} from the node's `counts` and the recorder's.

    Of the camera's topics: what the node received and dropped and the recorder saw published; of the node's own: what
    it published and the recorder received.
    """
    table = {}
    for topic, values in sorted(counts.items()):
        own = topic.startswith(f"{node}/")
        table[topic] = {
            "received": recorded.get(topic, 0) if own else values["received"],
            "published": values["published"] if own else recorded.get(topic, 0),
            "dropped": values["dropped"],
        }
    return table


def _results(scenario: Scenario, outcome: Outcome) -> list[Result]:
    bridge = CvBridge()
    cameras = [camera for _, camera in scenario.sources]
    results = []
    for index, view in outcome.answers:
        target = scenario.targets[index]
        sources = scenario.at([stamp_to_ns(stamp) for stamp in view.source_stamps])
        copy = scenario.source(nearest(target.camera, cameras))
        results.append(
            Result(
                title=f"{scenario.titles[index]}; scale {view.scale:.3g} ({view.scale_method})",
                camera=target.camera,
                image=bridge.imgmsg_to_cv2(view.image, "rgb8"),
                depth=bridge.imgmsg_to_cv2(view.depth),
                confidence=bridge.imgmsg_to_cv2(view.confidence),
                generated=bridge.imgmsg_to_cv2(view.generated) > 127,
                real=target,
                sources=sources,
                copy=copy.image,
            )
        )
    return results


def write_demo_report(
    out: Path, scenario: Scenario, outcome: Outcome, messages: dict[str, Any], model: str, elapsed: float
) -> bool:
    """Write all files of the demo but its bag, print the table; returns whether every requested view came back.

    messages: see `message_table`; model: its name, for a report without views; elapsed: seconds.
    """
    report: dict[str, Any] = {
        "sequence": scenario.name,
        "model": model,
        "views_requested": len(scenario.targets),
        "views_returned": len(outcome.answers),
        "psnr_db": None,
        "copy_nearest_psnr_db": None,
        "depth_abs_rel": None,
        "unit": scenario.unit,
        "latency_s": None,
        "trajectory": {
            "views_requested": outcome.path_requested,
            "views_returned": outcome.path_returned,
            "feedback": outcome.path_feedback,
        },
        "messages": messages,
        "errors": outcome.errors,
        "notes": list(scenario.notes),
        "seconds": round(elapsed, 1),
    }
    if outcome.answers:
        figures = write_results(out, _results(scenario, outcome), scenario.unit)
        views = [view for _, view in outcome.answers]
        for figure, view, latency in zip(figures["views"], views, outcome.latencies, strict=True):
            scale = {"value": view.scale, "method": view.scale_method, "residual": view.scale_residual}
            figure |= {"latency_s": latency, "scale": scale, "sources": len(view.source_stamps)}
        report |= figures
        report["model"] = views[0].model
        report["latency_s"] = {"median": median(outcome.latencies), "max": max(outcome.latencies)}
    write_report(out / "report.json", report)
    _print_table(report, out)
    complete = len(outcome.answers) == len(scenario.targets) and outcome.path_returned == outcome.path_requested
    return complete and not outcome.errors


def _print_table(report: dict[str, Any], out: Path) -> None:
    def number(value: float | None, unit: str = "") -> str:
        return "-" if value is None else f"{value:.3g}{unit}"

    path = report["trajectory"]
    latency = report["latency_s"] or {"median": None, "max": None}
    lost = sum(counts["dropped"] for counts in report["messages"].values())
    rows = [
        ("views returned / requested", f"{report['views_returned']} / {report['views_requested']}"),
        ("trajectory views returned / requested", f"{path['views_returned']} / {path['views_requested']}"),
        ("PSNR", number(report["psnr_db"], " dB")),
        ("PSNR of copying the nearest source", number(report["copy_nearest_psnr_db"], " dB")),
        ("PSNR where a source saw it", number(report.get("psnr_db_observed"), " dB")),
        ("PSNR where none did", number(report.get("psnr_db_unobserved"), " dB")),
        ("depth AbsRel", number(report["depth_abs_rel"])),
        ("latency median / max", f"{number(latency['median'], ' s')} / {number(latency['max'], ' s')}"),
        ("messages dropped", str(lost)),
        ("time of the demo", f"{report['seconds']} s"),
    ]
    print(f"\n{report['sequence']} with the model {report['model']}")
    for name, value in rows:
        print(f"  {name:<38} {value}")
    for note in [*report["notes"], *report["errors"]]:
        print(f"  * {note}")
    print(f"  files: {out}/report.json sheet.png points.ply cloud.png bag/")
