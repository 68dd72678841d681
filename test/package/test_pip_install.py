# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`pip install .` in an environment without ROS: the library and the gld command."""

import subprocess
import sys
import sysconfig


def run(*command, **kwargs):
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True, **kwargs)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_library_and_command(tmp_path, copy_repository, clean_environment):
    source = copy_repository(tmp_path / "source")
    environment = {
        name: value
        for name, value in clean_environment.items()
        if name not in ("PYTHONPATH", "LD_LIBRARY_PATH", "AMENT_PREFIX_PATH", "_ROS_WHEELS_BOOTSTRAP_COMPLETE")
    }
    venv = tmp_path / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", venv)
    python = venv / "bin" / "python"
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", env=environment).strip()
    # The libraries that pip would download are borrowed; those of ROS among them do not load from here.
    with open(f"{site}/borrowed.pth", "w") as file:
        file.write(sysconfig.get_path("purelib"))
    run(python, "-m", "pip", "install", "--no-deps", "--no-build-isolation", source, cwd=tmp_path, env=environment)

    help_text = run(venv / "bin" / "gld", "--help", cwd=tmp_path, env=environment)
    assert "synthesize" in help_text
    place = run(python, "-c", "import gld_ros.pipeline as p; print(p.__file__)", cwd=tmp_path, env=environment)
    assert place.startswith(site)
    weights = {file.name for file in (source / "gld_ros" / "weights" / "mini").iterdir()}
    (installed,) = (venv / "lib").glob("**/gld_ros/weights/mini")
    assert {file.name for file in installed.iterdir()} == weights and "model.safetensors" in weights
    assert subprocess.run([python, "-c", "import rclpy"], env=environment, capture_output=True).returncode != 0
