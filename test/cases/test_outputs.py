# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Outputs appear whole or not at all, even of a process that was killed, and replace nothing else."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import pytest
from builders.datasets import rendered

from gld_ros.cli import main
from gld_ros.data.bag_writer import write_bag
from gld_ros.data.scenes import open_scenes
from gld_ros.data.sequence import Sequence, open_sequence, write_folder
from gld_ros.errors import FileError, InvalidRequest
from gld_ros.evaluation import results
from gld_ros.files import replacing_folder


def deadly(views):
    """After three of them the process is killed, as where memory is short."""
    yield from views[:3]
    os.kill(os.getpid(), signal.SIGKILL)


def killed_bag(out: Path) -> None:
    frames = open_sequence(out.parents[1] / "scene").frames
    last = replace(frames[3], read_image=lambda: next(deadly([])))
    write_bag(Sequence("scene", out, [*frames[:3], last]), out)


def killed_folder(out: Path) -> None:
    write_folder(out, deadly(rendered()))


@pytest.mark.parametrize("write", (killed_bag, killed_folder))
def test_a_process_that_was_killed(tmp_path, write):
    scene, out = write_folder(tmp_path / "scene", rendered()), tmp_path / "outputs/out"
    process = get_context("fork").Process(target=write, args=(out,))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL and not out.exists()
    for kind in ("nerfstudio", "rosbag2"):
        with pytest.raises(InvalidRequest, match="no scenes"):
            open_scenes(f"{kind}:{out.parent}")
    assert main(["data", "to-bag", str(scene), str(out)]) == 0 and len(open_sequence(out).frames) == len(rendered())


def test_results_that_cannot_be_written(tmp_path, monkeypatch, capsys):
    def full(*_):
        raise OSError(28, "No space left on device")

    scene, out = write_folder(tmp_path / "scene", rendered()), tmp_path / "out"
    monkeypatch.setattr(results, "contact_sheet", full)
    command = ["synthesize", str(scene), "--sources", "0,4", "--targets", "2", "--steps", "1", "--out", str(out)]
    assert main(command) == 1
    assert f"FILE_ERROR: {out}: cannot be written: [Errno 28] No space left" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scene"]


def test_another_run_into_a_folder_replaces_its_own_files_only(tmp_path):
    (tmp_path / "out/images").mkdir(parents=True)
    for name in ("notes.txt", "images/mine.png", "images/000.png"):
        (tmp_path / "out" / name).write_text("mine")
    write_folder(tmp_path / "out", rendered())
    assert len(open_sequence(tmp_path / "out").frames) == len(rendered())
    assert [(tmp_path / "out" / name).read_bytes() == b"mine" for name in ("notes.txt", "images/mine.png")] == [
        True
    ] * 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_what_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="file/out: cannot be written"):
        write_folder(tmp_path / "file/out", rendered())
    with pytest.raises(InvalidRequest, match="file/bag: the bag cannot be written"):
        write_bag(open_sequence(write_folder(tmp_path / "scene", rendered())), tmp_path / "file/bag")
    with pytest.raises(InvalidRequest, match="scene: the bag cannot be written, it exists already"):
        write_bag(open_sequence(tmp_path / "scene"), tmp_path / "scene")


def test_relative_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("a", "./b/", "c/d"):
        with replacing_folder(Path(folder)) as new:
            (new / "file").write_text("whole")
        assert (Path(folder) / "file").read_text() == "whole"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c"]
