# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the demo says about itself: report.json, the files of the results, and a table."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from gld_ros.evaluation.results import Result, write_report, write_results
from gld_ros.geometry.cameras import nearest
from gld_ros.ros.client_messages import ReceivedView
from gld_ros.ros.conversions import stamp_to_ns
from gld_ros.ros.demo.scenario import Scenario


@dataclass(frozen=True)
class Answer:
    """One target's response views, one a seed, and the seconds that one took."""

    target: int
    views: list[ReceivedView]
    latency: float


@dataclass
class Outcome:
    """Answers to the demo's requests. errors: messages of those that failed. path: views of the action."""

    answers: list[Answer] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    path: list[ReceivedView] = field(default_factory=list)
    path_requested: int = 0
    path_feedback: int = 0

    def generated_share(self) -> float | None:
        """Share of the requested pixels that were generated, over all seeds; None where no view came back."""
        views = [view for answer in self.answers for view in answer.views] + self.path
        return float(np.mean([view.generated.mean() for view in views])) if views else None


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
    cameras = [camera for _, camera in scenario.sources]
    results = []
    for answer in outcome.answers:
        target, view, *others = scenario.targets[answer.target], *answer.views
        said = view.message
        results.append(
            Result(
                title=f"{scenario.titles[answer.target]}; scale {said.scale:.3g} ({said.scale_method})",
                camera=target.camera,
                image=view.image,
                depth=view.depth,
                confidence=view.confidence,
                generated=view.generated,
                real=target,
                sources=scenario.at([stamp_to_ns(stamp) for stamp in said.source_stamps]),
                copy=scenario.source(nearest(target.camera, cameras)).image,
                others=[(other.image, other.depth) for other in others],
            )
        )
    return results


def write_demo_report(
    out: Path, scenario: Scenario, outcome: Outcome, messages: dict[str, Any], model: str, elapsed: float
) -> bool:
    """Write all files of the demo but its bag, print the table; returns whether every requested view came back and
    enough of them was generated.

    messages: see `message_table`; model: its name, for a report without views; elapsed: seconds.
    """
    share, least = outcome.generated_share(), scenario.least_generated
    errors = list(outcome.errors)
    if share is not None and share < least:
        errors.append(f"{100 * share:.0f} % of the requested pixels are generated, {100 * least:.0f} % are expected")
    report: dict[str, Any] = {
        "sequence": scenario.name,
        "model": model,
        "views_requested": len(scenario.targets),
        "views_returned": len(outcome.answers),
        "generated_share": share,
        "psnr_db": None,
        "copy_nearest_psnr_db": None,
        "depth_abs_rel": None,
        "unit": scenario.unit,
        "latency_s": None,
        "trajectory": {
            "views_requested": outcome.path_requested,
            "views_returned": len(outcome.path),
            "feedback": outcome.path_feedback,
        },
        "messages": messages,
        "errors": errors,
        "notes": list(scenario.notes),
        "seconds": round(elapsed, 1),
    }
    if outcome.answers:
        report |= _figures(out, scenario, outcome) | {"generated_share": share}
        report["model"] = outcome.answers[0].views[0].message.model
        report["latency_s"] = {"median": median(outcome.latencies), "max": max(outcome.latencies)}
    write_report(out / "report.json", report)
    _print_table(report, out)
    complete = len(outcome.answers) == len(scenario.targets) and len(outcome.path) == outcome.path_requested
    return complete and not errors


def _figures(out: Path, scenario: Scenario, outcome: Outcome) -> dict[str, Any]:
    """Those of `write_results`, with what the answers say of each view."""
    results = _results(scenario, outcome)
    figures = write_results(out, results, scenario.unit)
    for row, result, answer in zip(figures["views"], results, outcome.answers, strict=True):
        view = answer.views[0].message
        row["latency_s"], row["sources"], row["seeds"] = answer.latency, len(view.source_stamps), len(answer.views)
        row["scale"] = {"value": view.scale, "method": view.scale_method, "residual": view.scale_residual}
        row["depth_spread_observed"] = _median(result.spread, ~result.generated)
        row["depth_spread_unobserved"] = _median(result.spread, result.generated)
    return figures


def _median(values: np.ndarray | None, where: np.ndarray) -> float | None:
    """The median of (H, W) `values` at the pixels `where` that are known; None where none is."""
    known = np.empty(0) if values is None else values[where & np.isfinite(values)]
    return float(np.median(known)) if known.size else None


def _print_table(report: dict[str, Any], out: Path) -> None:
    def number(value: float | None, unit: str = "") -> str:
        return "-" if value is None else f"{value:.3g}{unit}"

    path = report["trajectory"]
    latency = report["latency_s"] or {"median": None, "max": None}
    figures = (
        ("PSNR", "psnr_db", " dB"),
        ("PSNR of copying the nearest source", "copy_nearest_psnr_db", " dB"),
        ("PSNR where a source saw it", "psnr_db_observed", " dB"),
        ("PSNR where none did", "psnr_db_unobserved", " dB"),
        ("depth AbsRel", "depth_abs_rel", ""),
        ("depth AbsRel where a source saw it", "depth_abs_rel_observed", ""),
        ("depth AbsRel where none did", "depth_abs_rel_unobserved", ""),
    )
    rows = {
        "views returned / requested": f"{report['views_returned']} / {report['views_requested']}",
        "trajectory views returned / requested": f"{path['views_returned']} / {path['views_requested']}",
        **{title: number(report.get(key), unit) for title, key, unit in figures},
        "latency a view, median / max": f"{number(latency['median'], ' s')} / {number(latency['max'], ' s')}",
        "messages dropped": sum(counts["dropped"] for counts in report["messages"].values()),
        "time of the demo": f"{report['seconds']} s",
    }
    print(f"\n{report['sequence']} with the model {report['model']}")
    if report["generated_share"] is not None:
        print(f"generated: {100 * report['generated_share']:.0f} % of the requested pixels")
    for name, value in rows.items():
        print(f"  {name:<38} {value}")
    for note in [*report["notes"], *report["errors"]]:
        print(f"  * {note}")
    print(f"  files: {out}/report.json results.html scene.mcap points.ply sheet.png cloud.png bag/")
