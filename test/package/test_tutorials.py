# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Commands of the tutorials and Python of the README, as they stand there, in a folder of their own."""

import re
import shlex
from pathlib import Path

from gld_ros.cli import main

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data" / "amazon_box"


def run(page, changes=()):
    """All `gld` commands of the page's `sh` blocks, one after the other in this process."""
    script = "".join(re.findall(r"^```sh\n(.*?)```", (ROOT / "docs" / "tutorials" / page).read_text(), re.M | re.S))
    for old, new in changes:
        assert old in script
        script = script.replace(old, new)
    commands = [shlex.split(line, comments=True) for line in script.splitlines() if line.strip()]
    assert len(commands) > 3
    for gld, *arguments in commands:
        assert gld == "gld" and main(arguments) == 0, arguments


def test_your_own_bag(tmp_path, monkeypatch, capsys):
    """With a recorded sequence where there is one, else with the simulated room of the page itself."""
    monkeypatch.chdir(tmp_path)
    recorded = [("gld data rooms --out drive --frames 12\n", ""), ("to-bag drive", f"to-bag {DATA}")]
    run("your_own_bag.md", recorded if DATA.is_dir() else [])
    assert capsys.readouterr().out.count("skipped 0 scenes") == 2
    for file in ("views/sheet.png", "views/points.ply", "views/report.json", "frames/transforms.json"):
        assert (tmp_path / file).stat().st_size > 0


def test_your_own_model_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run("your_own_model.md")
    assert "all keys, shapes and numbers are right" in capsys.readouterr().out
    assert (tmp_path / "my_model" / "config.json").exists() and (tmp_path / "views" / "sheet.png").exists()


def test_scene(tmp_path, monkeypatch, capsys):
    """Two views along each path, which take less time than the page's eight."""
    monkeypatch.chdir(tmp_path)
    run("scene.md", [("--views 8", "--views 2")])
    assert capsys.readouterr().out.count("skipped 0 scenes") == 1
    for scene in ("orbit", "between", "again"):
        assert (tmp_path / scene / "rgb.mp4").stat().st_size > 0
    assert len(list((tmp_path / "again/images").iterdir())) == 4  # two given, two of the file


def test_the_python_of_the_readme(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    readme = (ROOT / "README.md").read_text()
    (rooms,) = re.findall(r"`gld (data rooms [^`]*)`", readme)
    (code,) = re.findall(r"^```python\n(.*?)```", readme, re.M | re.S)
    assert main(shlex.split(rooms)) == 0
    exec(compile(code, "README.md", "exec"), {"__name__": "__main__"})
    *_, channels, depth, generated = map(float, re.findall(r"[\d.]+", capsys.readouterr().out.splitlines()[-1]))
    assert channels == 3 and depth > 0 and 0 <= generated <= 1
