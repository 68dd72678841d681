# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`gld batch` on a real Ray: any number of workers, lost workers, killed runs."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial

import psutil
import pytest
from builders.archive import hashes, write_archive

from gld_ros.batch.run import run_batch
from gld_ros.batch.settings import BatchSettings
from gld_ros.batch.workers import ray_instance
from gld_ros.cli import main
from gld_ros.errors import InvalidRequest

GOOD = {"bag", "room0", "room1", "room2", "room3"}
ASK = "left-out?views=3"  # two requests for each sequence
pytest.importorskip("ray", reason="the extra batch is not installed")


@pytest.fixture(scope="module")
def ray():
    with ray_instance(cores=2):
        yield


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    return write_archive(tmp_path_factory.mktemp("archive"))


@pytest.fixture(scope="module")
def reference(archive, ray, tmp_path_factory):
    """The output of one worker."""
    out = tmp_path_factory.mktemp("reference")
    summary = run_batch([f"{archive}/*"], BatchSettings(out=out, ask=ASK, workers=1))
    assert (summary.made, summary.views, summary.workers) == (5, 10, 1)
    return out


def until(condition, seconds=240):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.01)


def test_two_workers_make_the_same_and_a_broken_bag_stops_nobody(archive, reference, tmp_path, capsys):
    command = ["batch", f"{archive}/*", "--out", str(tmp_path), "--ask", ASK, "--workers", "2"]
    assert main(command) == 1
    output = capsys.readouterr().out
    assert "6 sequences: 5 made, 0 made before, 1 failed; 10 views" in output and "2 workers" in output
    assert "failed: broken: INVALID_REQUEST" in output
    assert hashes(tmp_path) == hashes(reference) and {name.split("/")[0] for name in hashes(reference)} == GOOD
    manifest = json.loads((tmp_path / "room1/manifest.json").read_text())
    assert len(manifest["model_sha256"]) == 64 and manifest["revision"] and manifest["versions"]["torch"]
    assert len({view["seed"] for view in manifest["views"]}) == 2 and manifest["views"][0]["source_stamps"]
    assert manifest["settings"]["seed"] == 0 and manifest["settings"]["ask"] == ASK

    command[1] = f"{archive}/room*"
    assert main([*command, "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["made"], summary["before"], summary["failed"]) == (0, 4, {})
    assert main([*command, "--seed", "1"]) == 1
    assert "was begun with something else: seed 1 (there 0)" in capsys.readouterr().err


def test_lost_workers_interrupted_and_killed_runs_change_nothing(archive, reference, tmp_path):
    out, killed = tmp_path / "out", []
    settings = BatchSettings(out=out, ask=ASK, workers=1)

    def made():
        return {file.parent.name: file.stat().st_mtime_ns for file in out.glob("*/manifest.json")}

    def kill_worker():
        until(lambda: list(out.glob(".*.*/")))  # a sequence that is being written, named by its process
        killed.append(int(next(out.glob(".*.*/")).suffix[1:]))
        os.kill(killed[0], signal.SIGKILL)

    def interrupt(summary):
        if summary.made == 2:
            os.kill(os.getpid(), signal.SIGINT)

    killer = threading.Thread(target=kill_worker)
    killer.start()
    summary = run_batch([f"{archive}/*"], settings, interrupt)
    killer.join()
    assert killed and not psutil.pid_exists(killed[0])
    assert summary.interrupted and summary.made == 2 and not set(summary.failed) - {"broken"}

    command = [sys.executable, "-m", "gld_ros.cli", "batch", f"{archive}/*", "--out", out, "--ask", ASK]
    before = made()
    run = subprocess.Popen([*command, "--workers", "1"])
    until(lambda: len(made()) > len(before))
    processes = psutil.Process(run.pid).children(recursive=True)
    workers = [process for process in processes if process.name().startswith("ray::Maker")]
    assert [worker.nice() for worker in workers] == [os.nice(0)]  # Ray's default is 15: starved on a busy machine
    run.kill()
    run.wait()
    assert not psutil.wait_procs(workers, timeout=20)[1]
    for process in processes:  # two of Ray's servers take a minute to find that they are alone
        if process.is_running():
            process.kill()

    kept = made()
    summary = run_batch([f"{archive}/*"], settings)
    assert (summary.before, summary.made, list(summary.failed)) == (len(kept), 5 - len(kept), ["broken"])
    assert before.items() <= kept.items() <= made().items()
    assert hashes(out) == hashes(reference) and not list(out.glob(".*.*/"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"workers": 3}, "3 workers with 1 CPU cores each: there is room for 2"),
        ({"threads": 4}, "no workers with 4 CPU cores each: there is room for 0"),
    ],
)
def test_what_cannot_be_is_named_before_anything_is_made(changes, message, archive, ray, tmp_path):
    with pytest.raises(InvalidRequest, match=message):
        run_batch([f"{archive}/*"], BatchSettings(out=tmp_path, **changes))
    assert not list(tmp_path.glob("*/"))


def test_one_run_a_folder(archive, ray, tmp_path):
    settings = BatchSettings(out=tmp_path, ask=ASK, workers=1)
    again = partial(run_batch, [f"{archive}/room0"], settings)
    with pytest.raises(InvalidRequest, match="another gld batch is at work"):
        run_batch([f"{archive}/room0"], settings, lambda summary: again())
    (tmp_path / "room0").mkdir()
    (tmp_path / "room0/manifest.json").write_text('{"data": "/elsewhere/room0", "index": 0}')
    assert "holds views of /elsewhere/room0" in again().failed["room0"]
