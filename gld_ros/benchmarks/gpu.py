# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`gld bench gpu`: all that is worth knowing of a GPU in some minutes, the most valuable first.

Each step is a command in a process of its own with a time limit: a crash or a hang ends that step alone. The report is
whole after each step.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from gld_ros.errors import InvalidRequest
from gld_ros.files import write_text
from gld_ros.networks.configs import ModelConfig
from gld_ros.networks.released import GLD_DA3
from gld_ros.reports.pages import markdown
from gld_ros.reports.provenance import git_revision, hardware

#: Beside the package in a checkout.
TESTS = Path(__file__).parents[2] / "test"
BENCH = [sys.executable, "-m", "gld_ros.cli", "bench"]
LEAST = 5.0  # seconds: with fewer left no step begins
TAIL = 15  # lines of a failed step's log in the report


@dataclass(frozen=True)
class Step:
    """command: its own files go to a folder of the step's name; limit: seconds, at most; folder: where it runs."""

    name: str
    what: str
    command: list[str]
    limit: float
    folder: Path | None = None


def check_tests(tests: Path) -> None:
    """Raise InvalidRequest unless the oracle tests are there and can be run."""
    if not (tests / "oracle").is_dir() or not (tests / "golden").is_dir():
        raise InvalidRequest(
            f"no oracle tests in {tests}: an installed package has none. Clone the repository and give "
            "--tests CHECKOUT/test, or leave them out with --no-oracles"
        )
    if importlib.util.find_spec("pytest") is None:
        raise InvalidRequest("the oracle tests need pytest: pip install pytest; or leave them out with --no-oracles")


def tiny(config: ModelConfig = GLD_DA3) -> ModelConfig:
    """The structure of a released model in a few MB, for the dry run."""
    assert config.dpt is not None
    encoder = replace(config.encoder, width=64, heads=1, position_grid=5)
    small: dict[str, Any] = {"width": 64, "depth": 2, "heads": 2, "head_width": 64, "head_depth": 1, "head_heads": 2}
    return replace(
        config,
        encoder=encoder,
        dpt=replace(config.dpt, features=16, out_channels=(8, 16, 24, 32)),
        rgb=replace(config.rgb, width=64, depth=1, heads=2),
        level1=replace(config.level1, **small),
        level0=replace(config.level0, **small, level1_channels=encoder.channels),
    )


def plan(model: Path, device: str, out: Path, tests: Path | None, official: Path | None, dry: bool) -> list[Step]:
    """The steps, ordered by value."""
    where, fast = ["--device", device], ["--dtype", "float32" if dry else "bfloat16"]
    robot = ["--views", "2+1", "--size", "56x42" if dry else "504x280"]
    scene = ["--views", "2+2" if dry else "2+6", "--size", "56x42" if dry else "504x504"]
    few = ["--steps", "2"] if dry else []
    rounds = ["--repeat", "1"] if dry else ["--repeat", "3"]

    def bench(name: str, what: str, limit: float, *arguments: str) -> Step:
        return Step(name, what, [*BENCH, *arguments, "--out", str(out / name)], limit)

    def oracle(name: str, what: str, limit: float, files: Sequence[str], *more: str) -> Step:
        told = ["-q", "--tb=line", "-p", "no:cacheprovider", "--oracle-device", device, *more]
        paths = [str(path) for file in files for path in sorted((tests or TESTS).glob(f"oracle/{file}"))]
        return Step(name, what, [sys.executable, "-m", "pytest", *told, *paths], limit, (tests or TESTS).parent)

    path = str(model)
    checks = [sys.executable, "-m", "gld_ros.benchmarks.device_checks", path, device, str(out / "ways")]
    networks = ["test_dit.py"] if dry else ["test_dit.py", "test_da3_encoder.py", "test_da3_heads.py", "test_rgb*.py"]
    steps = [] if tests is None else [oracle("oracles", "networks of GLD, float32", 90, networks)]
    steps.append(Step("ways", "every way to run it against the plain one", checks + ["--small"] * dry, 180))
    steps.append(
        bench("robot", "2+1 views, presets", 90, "latency", path, *where, *fast, *robot, *few, *rounds, "--preset",
              "exact", "balanced", "fast")
    )  # fmt: skip
    if tests is not None:
        bf16 = "--oracle-bfloat16"
        steps.append(oracle("oracles-bfloat16", "networks of GLD, bfloat16", 60, networks, bf16))
        if not dry:
            steps.append(oracle("oracles-end", "the whole of GLD-DA3", 90, ["test_end_to_end.py"], "-k", "da3"))
    steps.append(bench("scene", "8 views", 90, "latency", path, *where, *fast, *scene, *few, *rounds))
    if official is not None:
        compare = ["--compare", str(official)]
        steps.append(bench("official", "the official code and ours in turn", 180, "latency", path, *where, *fast,
                           *scene, *few, *rounds, *compare))  # fmt: skip
    memory = ["memory", path, *where, *fast, *robot]
    steps.append(bench("memory", "one request", 60, *memory))
    steps.append(bench("memory-offload", "one request with offload", 60, *memory, "--offload", "sequential"))
    some = ["--gain", "tables once", "one batch", "fewer steps", "sources kept"] if dry else []
    steps.append(
        bench("factors", "what each gain is worth", 150, "factors", path, *where, *robot, *few, *rounds, *some)
    )
    if not dry:
        steps.append(bench("scene-compiled", "8 views, compiled", 120, "latency", path, *where, *fast, *scene, *rounds,
                           "--compile"))  # fmt: skip
    scenes = ["--scenes", "1" if dry else "4"]
    steps.append(bench("presets", "presets against exact", 90, "quality", path, *where, *fast, *scenes))
    if tests is not None and not dry:
        rest = ["test_camera_map.py", "test_sampler.py", "test_vggt*.py", "test_gen3r*.py"]
        steps.append(oracle("oracles-rest", "VGGT and Gen3R, float32", 240, rest))
    same = ("scene", "memory-offload", "presets")  # in the dry run others of the same kind stand for these
    return [step for step in steps if not dry or step.name not in same]


class Run:
    """Does the steps and keeps the report: report.json and table.md in `out`."""

    def __init__(self, steps: Sequence[Step], minutes: float, out: Path, command: str) -> None:
        self.steps, self.out, self.ends = steps, out, time.monotonic() + 60 * minutes
        self.head = {"benchmark": "gpu", "command": command, "revision": git_revision(), "hardware": hardware()}
        self.rows: list[dict[str, Any]] = [
            {"step": step.name, "what": step.what, "command": step.command, "state": "not begun"} for step in steps
        ]
        self.write()

    def __call__(self, tell: Callable[[str], None]) -> dict[str, Any]:
        """The report. tell: called with the name of each step before it begins."""
        for step, row in zip(self.steps, self.rows, strict=True):
            limit = min(step.limit, self.ends - time.monotonic())
            if limit < LEAST:
                row["state"] = "no time left"
                continue
            tell(step.name)
            row["state"] = "running, or ended from outside"
            self.write()
            began = time.monotonic()
            row["state"] = self.do(step, limit)
            row["seconds"] = time.monotonic() - began
            row |= self.found(step.name)
            self.write()
        self.write()
        return self.report

    def do(self, step: Step, limit: float) -> str:
        """Run the command, its output into log.txt; returns how it ended."""
        folder = self.out / step.name
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "log.txt").open("w") as log:
            process = subprocess.Popen(
                step.command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True, cwd=step.folder
            )
            try:
                code = process.wait(limit)
            except subprocess.TimeoutExpired:
                return f"stopped after its {limit:.0f} s"
            finally:  # with all that it started, after Ctrl-C, too
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
        return "ok" if code == 0 else f"FAILED ({code})"

    def found(self, name: str) -> dict[str, Any]:
        """The results of the step, even if it was stopped: its figures, its table, the end of its log."""
        folder, kept = self.out / name, {}
        if (folder / "report.json").is_file():
            kept["figures"] = json.loads((folder / "report.json").read_text())
        if (folder / "table.md").is_file():
            kept["table"] = (folder / "table.md").read_text()
        return kept | {"log": (folder / "log.txt").read_text(errors="replace").splitlines()[-TAIL:]}

    @property
    def report(self) -> dict[str, Any]:
        return self.head | {"steps": self.rows}

    def write(self) -> None:
        """Both files, each whole or not at all."""
        write_text(self.out / "report.json", json.dumps(self.report, indent=1) + "\n")
        write_text(self.out / "table.md", f"`{self.head['command']}`\n\n{gpu_table(self.report)}\n")


def gpu_table(report: dict[str, Any]) -> str:
    """All steps, then what each found: its table, or the end of its log."""
    lines = [[row["step"], row["what"], row["state"], row.get("seconds")] for row in report["steps"]]
    parts = [markdown(["step", "what", "result", "s"], lines)]
    for row in report["steps"]:
        if "log" not in row:
            continue
        parts.append(f"## {row['step']}: {row['what']}")
        if "table" in row:
            parts.append(row["table"].strip())
        if "table" not in row or row["state"] != "ok":
            parts.append("\n".join(["```", *row["log"], "```"]))
    return "\n\n".join(parts)


def device_for(dry: bool) -> str:
    """cuda, or cpu in a dry run. Raises InvalidRequest without a GPU."""
    if not dry and not torch.cuda.is_available():
        raise InvalidRequest(f"torch {torch.__version__} finds no CUDA device; --dry-run runs every step on the CPU")
    return "cpu" if dry else "cuda"
