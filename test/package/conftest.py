# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
import os
import shutil
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture
def copy_repository():
    """A function that copies what a clone would hold, with changes not committed yet, into a new folder."""

    def copy(target: Path) -> Path:
        listed = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
            cwd=CHECKOUT,
            capture_output=True,
            check=True,
        )
        for name in filter(None, listed.stdout.decode().split("\0")):
            if (CHECKOUT / name).is_file():
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(CHECKOUT / name, target / name)
        return target

    return copy


@pytest.fixture
def clean_environment():
    """The environment without this checkout: as a user has it who only sourced ROS (or made the venv)."""
    own = (str(CHECKOUT), str(CHECKOUT / "install"))
    environment = dict(os.environ)
    for name in ("PYTHONPATH", "LD_LIBRARY_PATH", "AMENT_PREFIX_PATH", "CMAKE_PREFIX_PATH", "COLCON_PREFIX_PATH"):
        parts = environment.pop(name, "").split(os.pathsep)
        kept = [part for part in parts if part and part != own[0] and not part.startswith(own[1])]
        if kept:
            environment[name] = os.pathsep.join(kept)
    return environment
