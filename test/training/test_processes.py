# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Training as processes: killed and resumed, told to stop, two at once."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from builders.stages import curve
from training_process import gradients

from gld_ros.training import checkpoint

PROCESS = str(Path(__file__).parent / "training_process.py")
LAUNCH = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", "2", "--num_machines", "1"]
LAUNCH += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
LAUNCH += ["--multi_gpu"]  # accelerate's name for several processes; on a CPU they talk over gloo


def run(*arguments: object, launch: tuple | list = (sys.executable,)) -> subprocess.CompletedProcess:
    command = [*launch, PROCESS, *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    done = run("run", folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_killed_and_resumed_is_as_uninterrupted(whole, tmp_path):
    killed = run("run", tmp_path, "die=8")
    assert killed.returncode == -signal.SIGKILL
    assert curve(tmp_path)[-1]["step"] == 8 and checkpoint.latest(tmp_path).stem.endswith("5")
    resumed = run("run", tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert len(curve(whole)) == 12 and curve(tmp_path) == curve(whole)
    ends = [checkpoint.read(folder / "checkpoint-00000012.safetensors")[0] for folder in (whole, tmp_path)]
    assert ends[0].keys() == ends[1].keys() and all(torch.equal(ends[0][k], ends[1][k]) for k in ends[0])


def test_sigterm_in_the_middle_of_a_step_saves_it(tmp_path):
    stopped = run("run", tmp_path, "term=6", "accumulation=2")
    assert stopped.returncode == 0, stopped.stderr
    _, progress = checkpoint.read(checkpoint.latest(tmp_path))
    assert (progress.step, progress.micro) == (4, 8)  # it came in the first of the fourth step's two micro steps


def test_sigterm_while_data_do_not_come_saves_what_was_reached(whole, tmp_path):
    stopped = run("run", tmp_path, "wait=7")
    assert stopped.returncode == 0, stopped.stderr
    _, progress = checkpoint.read(checkpoint.latest(tmp_path))
    assert (progress.step, progress.micro) == (7, 7)
    assert run("run", tmp_path).returncode == 0 and curve(tmp_path) == curve(whole)


def test_two_processes_have_the_gradient_of_one(tmp_path):
    """On the same scenes. flow, sharded: as one process with twice the accumulation, random draws and all (the second
    resumed once). toy: as one process with one undivided batch."""
    two, one = tmp_path / "two", tmp_path / "one"
    two.mkdir()
    one.mkdir()
    cases = ["flow:2:2:3", "toy1:2:1:3", "toy2:2:2:3", "sharded:2:1:2", "sharded:2:1:4"]
    done = run("gradients", two, *cases, launch=LAUNCH)
    assert done.returncode == 0, done.stderr
    for name, scenes, accumulation, steps in (
        ("flow", 2, 4, 3),
        ("toy1", 4, 1, 3),
        ("toy2", 8, 1, 3),
        ("sharded", 2, 2, 4),
    ):
        expected = gradients(one, name, scenes, accumulation, steps)
        found = torch.load(two / f"{name}.pt", weights_only=True)
        for left, right in zip(found, expected[-len(found) :], strict=True):
            assert left.keys() == right.keys()
            for key in left:
                torch.testing.assert_close(left[key], right[key], rtol=1e-4, atol=1e-6)
        a, b = ([line["loss"] for line in curve(folder / name)] for folder in (two, one))
        assert len(a) == steps and a == pytest.approx(b, rel=1e-4)
        ends, progress = zip(*(checkpoint.read(checkpoint.latest(f / name)) for f in (two, one)), strict=True)
        assert [p.processes for p in progress] == [2, 1]
        assert ends[0].keys() == ends[1].keys()
        for key in ends[0].keys() - {"model/seen"}:  # each process counts its own
            torch.testing.assert_close(ends[0][key], ends[1][key], rtol=1e-3, atol=1e-5)
