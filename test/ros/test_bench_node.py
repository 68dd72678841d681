# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`gld bench node`: a real gld_node in a domain of its own, a few frames."""

import json
import os
import subprocess
import sys

import pytest

from gld_ros.cli import main


def bench(*arguments, **environment):
    command = [sys.executable, "-m", "gld_ros.cli", "bench", "node", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=os.environ | environment)


def test_bench_node(tmp_path):
    arguments = ["--frames", "40", "--cameras", "2", "--size", "128x96", "--rate", "20", "--requests", "2"]
    done = bench(*arguments, "--json", "--out", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    cameras, requests = report["cameras"], report["requests"]
    assert cameras["published"] == 2 * 40 and 0 < cameras["received"] <= 2 * 40
    assert 2 <= cameras["key_frames"] < cameras["received"]
    assert cameras["published_rate"] <= 20 * 1.05
    assert cameras["cpu_s"] > 0 and cameras["cpu_s_per_frame"] == cameras["cpu_s"] / cameras["received"]
    assert 0 < cameras["core_share"] < 4 and cameras["memory_bytes"] > 50e6
    memory = cameras["memory"]
    assert memory["images"][-1] <= 80 and len(memory["images"]) > 3
    # The heap lies in private memory, which is resident; Python's objects are many.
    assert 20e6 < memory["heap_bytes"][-1] < memory["private_bytes"][-1] < cameras["memory_bytes"]
    assert memory["python_blocks"][-1] > 1e5 and cameras["memory_slopes"]["private_bytes"] is not None
    assert requests["count"] == 2 and requests["pipeline_ms"] > 0
    # What the node says it took is part of what the client waited.
    assert 0 < requests["node_ms"][0] < requests["answer_ms"][0] and requests["overhead_ms"] > 0
    assert report["run"]["size"] == [128, 96]
    assert {path.name for path in tmp_path.iterdir()} == {"report.json", "table.md", "memory.png"}


def test_bench_node_tells_of_a_node_that_fails(tmp_path):
    done = bench("--frames", "12", "--size", "64x48", "--model", str(tmp_path / "nowhere"))
    assert done.returncode == 1
    assert "/gld_node failed to configure" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments, reason",
    [
        (["--cameras", "5"], "--cameras is 5, expected 1 to 4"),
        (["--size", "4000x3000"], "expected 16x16 to 1920x1080"),
        (["--frames", "2"], "--frames is 2, expected 12"),
    ],
)
def test_bench_node_names_what_cannot_be(capsys, arguments, reason):
    assert main(["bench", "node", *arguments]) == 1
    assert reason in capsys.readouterr().err
