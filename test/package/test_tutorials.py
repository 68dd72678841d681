# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Commands of the tutorials and Python of the README, as they stand there, in a folder of their own."""

import os
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data" / "amazon_box"


def run(page, folder, changes=()):
    """All `sh` blocks of the page, in one shell; returns what they print."""
    script = "".join(re.findall(r"^```sh\n(.*?)```", (ROOT / "docs" / "tutorials" / page).read_text(), re.M | re.S))
    assert script.count("gld ") > 3
    for old, new in changes:
        assert old in script
        script = script.replace(old, new)
    return shell(script, folder)


def shell(script, folder):
    """What the script prints."""
    done = subprocess.run(
        ["bash", "-euxc", script],
        cwd=folder,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_your_own_bag(tmp_path):
    """With a recorded sequence where there is one, else with the simulated room of the page itself."""
    recorded = [("gld data rooms --out drive --frames 12\n", ""), ("to-bag drive", f"to-bag {DATA}")]
    printed = run("your_own_bag.md", tmp_path, recorded if DATA.is_dir() else [])
    assert printed.count("skipped 0 scenes") == 2
    for file in ("views/sheet.png", "views/points.ply", "views/report.json", "frames/transforms.json"):
        assert (tmp_path / file).stat().st_size > 0


def test_your_own_model_folder(tmp_path):
    printed = run("your_own_model.md", tmp_path)
    assert "all keys, shapes and numbers are right" in printed
    assert (tmp_path / "my_model" / "config.json").exists() and (tmp_path / "views" / "sheet.png").exists()


def test_the_python_of_the_readme(tmp_path):
    readme = (ROOT / "README.md").read_text()
    (rooms,) = re.findall(r"`(gld data rooms [^`]*)`", readme)
    (code,) = re.findall(r"^```python\n(.*?)```", readme, re.M | re.S)
    printed = shell(f"{rooms}\npython - <<'END'\n{code}END\n", tmp_path)
    *_, channels, depth, generated = map(float, re.findall(r"[\d.]+", printed.splitlines()[-1]))
    assert channels == 3 and depth > 0 and 0 <= generated <= 1
