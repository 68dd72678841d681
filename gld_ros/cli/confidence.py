# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`gld calibrate-confidence`: what a model's confidence is worth, measured on rooms that it was not trained on."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from gld_ros.cli.synthesize import image_size

ROOMS = 1000  # by default
NATIVE_SHARE = 5  # of a fit: a fifth of the rooms is measured at a camera's resolution, too


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add `gld calibrate-confidence`."""
    parser = subparsers.add_parser(
        "calibrate-confidence", help="fit a model's confidence and intervals on val rooms, or check them on test rooms"
    )
    parser.add_argument("model", help="name of a model or folder of its weights")
    parser.add_argument("--split", default="val", help="rooms to fit on: val, as test rooms are for checking")
    parser.add_argument("--out", type=Path, help="file to write the fit to; it counts as calibration.json of the model")
    parser.add_argument("--check", choices=("test", "val"), help="fit nothing: report on the rooms of this split")
    parser.add_argument("--far", action="store_true", help="with --check: targets up to six baselines from the sources")
    parser.add_argument("--samples", type=int, default=1, help="with --check: drawn for each view (default 1)")
    parser.add_argument("--scenes", type=int, default=ROOMS, help=f"rooms, two targets each (default {ROOMS})")
    parser.add_argument("--size", default="96x72", type=image_size, help="WxH of the rooms' cameras (default 96x72)")
    parser.add_argument(
        "--pixels", type=Path, metavar="DIR", help="folder to keep what was measured in, and to go on from"
    )
    parser.add_argument("--plot", type=Path, metavar="PNG", help="write a reliability diagram")
    parser.add_argument("--json", action="store_true", help="print the whole report as JSON, not a table")
    parser.add_argument("--device", help="cuda or cpu (default: the best there is)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure, fit or check, print the figures."""
    from gld_ros.errors import InvalidRequest
    from gld_ros.evaluation.confidence_fit import NATIVE, Rooms, check, fit, measure
    from gld_ros.pipeline import GLDPipeline
    from gld_ros.reports.confidence_plots import reliability_diagram
    from gld_ros.weights.hub import resolve
    from gld_ros.weights.verification import weights_of

    if args.split != "val":
        raise InvalidRequest(f"--split {args.split}: fits are made on val rooms; --check test reports on the others")
    if bool(args.out) == bool(args.check):
        raise InvalidRequest("give either --out FILE, to fit, or --check SPLIT, to report")
    if args.out and (args.far or args.samples != 1):
        raise InvalidRequest("--far and --samples are for --check: fits are made on single samples of the usual rooms")
    if args.scenes < NATIVE_SHARE:
        raise InvalidRequest(f"--scenes {args.scenes}: at least {NATIVE_SHARE} are expected")
    folder = resolve(args.model)
    pipe, weights = GLDPipeline.from_pretrained(folder, device=args.device), weights_of(folder)
    calibration = pipe.synthesis.calibration
    height, width = args.size
    asked = Rooms(args.check or args.split, args.scenes, (width, height), args.far, args.samples)
    pixels = measure(pipe, asked, weights, args.pixels)
    if args.out:
        larger = Rooms(args.split, args.scenes // NATIVE_SHARE, NATIVE)
        native = measure(pipe, larger, weights, args.pixels) if larger.native(pipe) else None
        command = f"gld calibrate-confidence {args.model} --scenes {args.scenes} --out {args.out.name}"
        calibration = fit(pixels, weights, {"command": command, "on": [str(asked), str(larger)]}, native)
        calibration.save(args.out)
        print(f"gld: {args.out} written; what follows is on the rooms of the fit itself", file=sys.stderr)
    if calibration and asked.native(pipe):
        calibration = calibration.at_native()
    report = {"model": pipe.name, "on": str(asked), **check(pixels, calibration)}
    if args.plot:
        reliability_diagram(args.plot, report)
    print(json.dumps(report, indent=1, allow_nan=False) if args.json else _text(report))
    return 0


def _text(report: dict[str, Any]) -> str:
    """The figures as a table, a region a column."""
    regions = ("all", "observed", "generated")
    state = "calibrated" if report["calibrated"] else "not calibrated"
    lines = [
        f"{report['model']}, {state}, {report['on']}: {report['views']} views, {report['rooms']} rooms, "
        f"{report['refused']} refused",
        f"{'':32}" + "".join(f"{name:>22}" for name in regions),
    ]

    def row(title: str, cells: list[str]) -> None:
        lines.append(f"{title:32}" + "".join(f"{cell:>22}" for cell in cells))

    def number(value: float | None) -> str:
        return "-" if value is None else f"{value:.3f}"

    def share(value: dict[str, Any]) -> str:
        around = "" if value["low"] is None else f" [{value['low']:.3f}, {value['high']:.3f}]"
        return number(value["share"]) + around

    row("share of the pixels", [number(report[name]["share"]) for name in regions])
    row("depth right within 10 %", [number(report[name]["right"]) for name in regions])
    row("calibration error (ECE)", [number(report[name]["ece"]) for name in regions])
    row("the same, mean over views", [number(report[name]["ece_per_view"]) for name in regions])
    if report["calibrated"]:
        for level in report["all"]["coverage"]:
            row(f"coverage at {level}", [share(report[name]["coverage"][level]) for name in regions])
        widths = [report[name]["coverage"]["0.9"]["median_width"] for name in regions]
        row("median width of the 0.9 interval", [number(width) for width in widths])
        for name in report["all"]:
            if name.startswith("missed"):
                row(name.replace("_", " ") + " at 0.9", [share(report[region][name]) for region in regions])
        lines.append("novelty: views, generated, right within 10 %, ECE, coverage at 0.9")
        for found in report["by_novelty"]:
            lines.append(
                f"  {found['from']:.1f}-{found['to']:.1f}: {found['views']}, {found['generated']:.3f}, "
                f"{found['right']:.3f}, {found['ece']:.3f}, {found['coverage_0.9']:.3f}"
            )
    return "\n".join(lines)
