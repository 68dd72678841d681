# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`gld bench gpu` and `gld bench factors` on tiny models: every step runs, and the report is whole whatever happens."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from gld_ros.benchmarks import device_checks, factors, gpu
from gld_ros.benchmarks.requests import Shape, write_random_model
from gld_ros.cli import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("model")
    write_random_model(gpu.tiny(), path, "bfloat16")
    return path


def python(name: str, code: str, limit: float = 60) -> gpu.Step:
    return gpu.Step(name, name, [sys.executable, "-c", code], limit)


def test_dry_run(tmp_path, capsys):
    """Every kind of step but the oracles, which have tests of their own, in processes of their own."""
    assert main(["bench", "gpu", "--dry-run", "--no-oracles", "--out", str(tmp_path), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report == json.loads((tmp_path / "report.json").read_text())
    steps = {row["step"]: row for row in report["steps"]}
    assert list(steps) == ["ways", "robot", "memory", "factors"]
    assert {row["state"] for row in steps.values()} == {"ok"}
    assert [row["check"] for row in steps["ways"]["figures"]["checks"]] == list(device_checks.ALL)
    assert [case["variant"].split()[0] for case in steps["robot"]["figures"]["cases"]] == ["exact", "balanced", "fast"]
    table = (tmp_path / "table.md").read_text()
    assert "times as fast as plain" in table and "peak resident" in table and "out of memory" in table


def test_steps_that_hang_or_crash_end_alone(tmp_path):
    """Before each step the report on disk has all that was done."""
    steps = [
        python("hangs", "import time; print('begun', flush=True); time.sleep(600)", limit=5),
        python("crashes", "import os; os.abort()"),
        python("works", "print('done')"),
    ]
    seen = []

    def told(name: str) -> None:
        seen.append((name, [row["state"] for row in json.loads((tmp_path / "report.json").read_text())["steps"]]))

    report = gpu.Run(steps, 5, tmp_path, "gld bench gpu")(told)
    assert seen[0] == ("hangs", ["not begun"] * 3)
    assert seen[2] == ("works", ["stopped after its 5 s", "FAILED (-6)", "not begun"])
    assert report["steps"][0]["log"] == ["begun"] and report["steps"][2]["log"] == ["done"]
    assert "stopped after its 5 s" in (tmp_path / "table.md").read_text()
    late = gpu.Run(steps[2:], 0, tmp_path, "gld bench gpu")(told)
    assert late["steps"][0]["state"] == "no time left"


def test_what_is_missing_is_said_first(tmp_path, capsys):
    out = ["--out", str(tmp_path / "out")]
    if not torch.cuda.is_available():
        assert main(["bench", "gpu", *out]) == 1
        assert "finds no CUDA device; --dry-run" in capsys.readouterr().err
    assert main(["bench", "gpu", "--dry-run", "--tests", str(tmp_path), *out]) == 1
    error = capsys.readouterr().err
    assert "no oracle tests in" in error and "--tests CHECKOUT/test" in error
    assert main(["bench", "gpu", "--dry-run", "--no-oracles", "--official", str(tmp_path), *out]) == 1
    assert "a checkout of the official GLD repository is expected" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_check_that_fails_is_named(folder, tmp_path, monkeypatch):
    def broken(checks: device_checks.Checks) -> dict:
        return checks.same(checks.plain + 1, device_checks.EXACT)

    def raises(checks: device_checks.Checks) -> dict:
        raise RuntimeError("CUDA error: an illegal memory access")

    kept = {"again": device_checks.Checks.again}
    monkeypatch.setattr(device_checks, "ALL", {"broken": broken, "raises": raises, **kept})
    assert not device_checks.run(folder, "cpu", tmp_path, small=True)
    rows = json.loads((tmp_path / "report.json").read_text())["checks"]
    assert [row["ok"] for row in rows] == [False, False, True]
    assert "illegal memory access" in (tmp_path / "table.md").read_text()


def test_gains_change_the_work_and_not_the_result(folder, monkeypatch):
    calls: list[int] = []
    made: list[int] = []
    tables = factors.camera_tables
    monkeypatch.setattr(factors, "camera_tables", lambda *args: (made.append(1), tables(*args))[1])
    bench = factors.Bench(folder, "cpu", Shape(2, 1, (42, 56)), 3, factors.GAINS)
    for dit in (bench.models["float32"].net.level1, bench.models["float32"].net.level0):
        dit.register_forward_pre_hook(lambda module, args: calls.append(len(args[0])))
    with torch.inference_mode():
        plain = bench.run(())
        assert calls == [1] * 12 and len(made) == 12 * 3  # two levels, three steps, two branches; three blocks
        calls.clear(), made.clear()
        once = bench.run(("tables once",))
        assert calls == [1] * 12 and not made
        calls.clear()
        joined = bench.run(("tables once", "one batch", "sources kept"))
        assert calls == [2] * 6
        calls.clear()
        bench.run(("tables once", "fewer steps"))
        assert len(calls) == 2
    for other in (once, joined):
        torch.testing.assert_close(other.image, plain.image, atol=1e-5, rtol=0)


def test_unknown_gain(capsys):
    assert main(["bench", "factors", "--gain", "luck"]) == 1
    assert "gain 'luck', expected of bfloat16" in capsys.readouterr().err
