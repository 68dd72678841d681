# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`gld bench start`: a real gld_node that starts by itself, timed part by part."""

import json
import os
import subprocess
import sys

from gld_ros.cli import main


def test_bench_start(tmp_path):
    command = [sys.executable, "-m", "gld_ros.cli", "bench", "start", "--repeat", "1", "--json", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=os.environ)
    assert done.returncode == 0, done.stdout + done.stderr
    (start,) = json.loads(done.stdout)["starts"]
    parts = {row["part"]: row for row in start["parts"]}
    assert list(parts) == [
        "interpreter, imports",
        "rclpy init",
        "node made",
        "configure",
        "configure: files checked, networks built, weights mapped",
        "configure: warm-up",
        "activate",
    ]
    assert parts["interpreter, imports"]["after_s"] == 0
    ends = [row["after_s"] + row["seconds"] for row in parts.values()]
    # Parts of configure are inside it; the client sees the node active after that, and then its answer.
    assert ends[4] <= parts["configure: warm-up"]["after_s"] and ends[5] <= ends[3] <= ends[6]
    assert max(ends) < start["active_s"] < start["first_answer_s"]
    assert all(row["cpu_s"] > 0 for row in parts.values())
    assert "| first answer" in (tmp_path / "table.md").read_text()


def test_bench_start_names_what_cannot_be(capsys):
    assert main(["bench", "start", "--repeat", "0"]) == 1
    assert "--repeat is 0, expected at least 1" in capsys.readouterr().err
