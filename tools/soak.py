# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A long run of the real `gld_node`: a camera at full rate, requests all the while, and what its memory does.

`make soak` runs `python tools/soak.py --minutes 30`. It writes soak.json and prints a row of
docs/quality.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from gld_ros import allocator
from gld_ros.benchmarks.requests import model_folder
from gld_ros.reports.pages import cell
from gld_ros.ros.bench.node_run import NODE, REQUEST, SPEED, NodeRun, play, running_node
from gld_ros.ros.client_messages import ANSWERED

BEHIND = 0.15  # metres behind the newest image that views are asked for


def soak(run: NodeRun, period: float) -> dict[str, Any]:
    """Play `run.frames` images and ask for a view every `period` seconds meanwhile; figures of the node.

    Raises GLDError where the node dies or does not answer.
    """
    run.check()
    answers, seconds = Counter[str](), list[float]()
    with model_folder(run.model) as model, tempfile.TemporaryDirectory(prefix="gld-soak-") as logs:
        with running_node(run, "gld_soak", model, logs) as (client, cameras, processes):

            def ask() -> None:
                x = SPEED * cameras.published / run.cameras / run.rate - BEHIND
                asked = time.perf_counter()
                try:
                    client.synthesize(cameras.wall.camera(x), seed=len(seconds), timeout=REQUEST)
                    answers["NONE"] += 1
                except ANSWERED as error:
                    answers[error.code] += 1
                seconds.append(time.perf_counter() - asked)

            figures = play(run, client, cameras, processes, period, ask)
        log = (Path(logs) / f"{NODE}.log").read_text(errors="replace")
    return {
        **figures,
        "answers": dict(answers),
        "answer_ms": [1e3 * float(np.percentile(seconds, q)) for q in (50, 95, 100)] if seconds else [],
        "tracebacks": log.count("Traceback"),
        "errors_in_log": log.count("[ERROR]"),
    }


def row(figures: dict[str, Any]) -> str:
    """The result in words, for a table."""
    slopes = figures["memory_slopes"]
    answers = ", ".join(f"{count} {code}" for code, count in sorted(figures["answers"].items()))
    median, p95, _ = figures["answer_ms"]
    return (
        f"{figures['seconds'] / 60:.1f} min at {figures['published_rate']:.1f} Hz: {figures['received']} of "
        f"{figures['published']} images received, {figures['dropped']} dropped; answers: {answers}; "
        f"{median:.0f} ms (median), {p95:.0f} ms (p95); memory {figures['memory_bytes'] / 1e6:.0f} MB, in the "
        f"second half {cell(slopes['heap_bytes'])} bytes of the heap, {cell(slopes['private_bytes'])} of "
        f"resident memory and {cell(slopes['python_blocks'])} Python objects an image; "
        f"{figures['tracebacks']} tracebacks"
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python tools/soak.py", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="how long (default %(default)s)")
    parser.add_argument("--rate", type=float, default=30.0, help="images a second (default %(default)s)")
    parser.add_argument("--period", type=float, default=2.0, help="seconds between requests (default %(default)s)")
    parser.add_argument("--model", default="mini", help="name or folder (default %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("soak.json"), help="figures (default %(default)s)")
    args = parser.parse_args(arguments)
    allocator.ensure()
    run = NodeRun(model=args.model, frames=round(60 * args.minutes * args.rate), size=(480, 640), rate=args.rate)
    figures = soak(run, args.period)
    args.out.write_text(json.dumps(figures, indent=1) + "\n")
    print(row(figures))
    return 0 if not figures["tracebacks"] and set(figures["answers"]) == {"NONE"} else 1


if __name__ == "__main__":
    sys.exit(main())
