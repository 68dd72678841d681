# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`gld eval --away`: figures of views that look away from what the sources show."""

from __future__ import annotations

import argparse
import json
import warnings
from typing import Any

#: Options of `gld eval` that need other scenes, methods or figures, by the value they have where they are not given.
OTHERS: dict[str, Any] = {
    "data": None,
    "views": None,
    "gap": None,
    "clips": None,
    "size": None,
    "peer": [],
    "against": [],
    "lpips": None,
    "dino": None,
    "save_views": False,
    "sources": 2,
}
SAMPLES = 8  # of every view, by default


def run_away(args: argparse.Namespace, count: int) -> int:
    """Evaluate on `count` scenes, write what is asked for, print the figures."""
    from gld_ros.cli.eval import print_notices, settings_of
    from gld_ros.errors import InvalidRequest
    from gld_ros.evaluation.away import away_figures, evaluate_away
    from gld_ros.evaluation.away_scenes import away_scenes
    from gld_ros.evaluation.methods import OwnDepth, model
    from gld_ros.evaluation.report import versions
    from gld_ros.evaluation.results import write_report
    from gld_ros.evaluation.rooms import SPLITS
    from gld_ros.evaluation.sheets import AwaySheet
    from gld_ros.pipeline import GLDPipeline

    for name, value in OTHERS.items():
        if getattr(args, name) != value:
            raise InvalidRequest(f"--{name.replace('_', '-')} does not go together with --away")
    split, samples = args.split or "test", SAMPLES if args.samples is None else args.samples
    if split not in SPLITS:
        raise InvalidRequest(f"--split {split}: the splits of the rooms are {', '.join(SPLITS)}")
    pipe = GLDPipeline.from_pretrained(args.model, device=args.device, dtype=args.dtype, offload=args.offload)
    answer = model("model", pipe, steps=args.steps, guidance_scale=args.guidance, strict_scale=False).answer
    sheet = None
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        sheet = AwaySheet()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        fill = OwnDepth(pipe).read_back
        found = evaluate_away(away_scenes(split, count), answer, fill, samples, args.seed, sheet, count)
    settings = settings_of(args, pipe) | {"split": split, "samples": samples}
    report: dict[str, Any] = {"model": pipe.name, "settings": settings, "versions": versions(pipe)}
    report |= away_figures(found, samples, args.seed)
    report["notices"] = print_notices(caught, len(found.scenes), found.interrupted)
    if sheet:
        write_report(args.out / "report.json", report)
        sheet.write(args.out / "away.png")
    if args.json:
        print(json.dumps(report, indent=1, allow_nan=False))
    else:
        print_away(report)
    return 130 if found.interrupted else 0


def print_away(report: dict[str, Any]) -> None:
    """A line a figure, with its interval; then the distances of patches."""
    print(
        f"{report['model']}: {report['scenes']} scenes, {len(report['refused'])} refused, {report['samples']} samples; "
        f"{report['unobserved_share']:.0%} of the pixels unobserved; {report['seconds_per_view']:.2f} s a view"
    )
    for name, value in report["figures"].items():
        interval = "" if value["low"] is None else f"[{value['low']:.3f}, {value['high']:.3f}]"
        print(f"{name:28}{value['mean']:9.3f}  {interval}")
    for name, distances in report["patch_distance"].items():
        print(f"{'patch_distance ' + name:37}" + "".join(f"{value:9.2f}" for value in distances))
