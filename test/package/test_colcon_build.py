# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A workspace that holds only this repository: colcon build, then everything from the install space."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from ament_index_python.packages import get_package_prefix

CHECKOUT = Path(__file__).parents[2]
IMPORTS = """
import gld_ros.action, gld_ros.msg, gld_ros.srv
import gld_ros.pipeline, gld_ros.ros.node.node
from rclpy.serialization import deserialize_message, serialize_message
request = gld_ros.srv.SynthesizeViews.Request(seed=7)
assert deserialize_message(serialize_message(request), type(request)) == request
for module in (gld_ros, gld_ros.srv, gld_ros.pipeline, gld_ros.ros.node.node):
    print(module.__file__)
"""


def check_installed(prefix):
    """Executables, launch files, configurations and the embedded model's files lie where ROS looks for them."""
    for name in ("gld", "gld_dashboard", "gld_node", "gld_replay", "gld_sim_camera"):
        assert os.access(prefix / "lib" / "gld_ros" / name, os.X_OK)
    configuration = (
        "config/gld.yaml",
        "config/gld.rviz",
        "config/costmap.yaml",
        "config/foxglove.json",
        "config/sros2/policies.xml",
    )
    for name in ("launch/gld.launch.py", "launch/demo.launch.py", "launch/costmap.launch.py", *configuration):
        assert (prefix / "share" / "gld_ros" / name).is_file()
    (package,) = prefix.glob("**/gld_ros/weights")
    weights = {file.name for file in (CHECKOUT / "gld_ros" / "weights" / "mini").iterdir()}
    assert {file.name for file in (package / "mini").iterdir()} >= weights > {"model.safetensors"}
    assert not list(prefix.glob("**/tf2_msgs")), "the folder pip_ros/ is not for workspaces"


def test_the_build_of_the_checkout_with_symlinks():
    """`make setup` made it, and all other tests use it."""
    check_installed(Path(get_package_prefix("gld_ros")))


def test_build_and_import_from_the_install_space(tmp_path, copy_repository, clean_environment):
    copy_repository(tmp_path / "src" / "gld_ros")
    command = ["colcon", "build", "--event-handlers", "console_direct+"]
    if "ROS_DISTRO" not in os.environ:  # ROS comes from this venv: CMake cannot know
        command += ["--cmake-args", f"-DCMAKE_PREFIX_PATH={sys.prefix}", f"-DPython3_EXECUTABLE={sys.executable}"]
    build = subprocess.run(command, cwd=tmp_path, env=clean_environment, capture_output=True, text=True)
    assert build.returncode == 0, build.stdout + build.stderr
    shutil.rmtree(tmp_path / "src")
    shutil.rmtree(tmp_path / "build")
    child = subprocess.run(
        ["bash", "-c", '. install/setup.bash && exec "$0" -c "$1"', sys.executable, IMPORTS],
        cwd=tmp_path,
        env=clean_environment,
        capture_output=True,
        text=True,
    )
    assert child.returncode == 0, child.stderr
    install = tmp_path / "install" / "gld_ros"
    assert all(Path(line).is_relative_to(install) for line in child.stdout.split()), child.stdout
    check_installed(install)
