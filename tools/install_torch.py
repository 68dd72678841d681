# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Install the pinned torch (the only argument) into the environment that runs this; a torch that is there stays.

PyPI's torch for Linux is the CUDA build, gigabytes with its libraries. Where no NVIDIA driver is found the CPU build
is taken from pytorch.org; only if that cannot be reached, PyPI's build is used, which runs on a CPU too.
"""

import importlib.util
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

CPU_INDEX = "https://download.pytorch.org/whl/cpu"


def reachable(url: str) -> bool:
    try:
        urllib.request.urlopen(f"{url}/torch/", timeout=10).close()
    except (urllib.error.URLError, OSError):
        return False
    return True


def main(requirement: str) -> None:
    if importlib.util.find_spec("torch"):
        print("installed already")
        return
    command = [sys.executable, "-m", "pip", "install", "--quiet", requirement]
    if Path("/proc/driver/nvidia/version").exists():
        print(f"{requirement} with CUDA: an NVIDIA driver was found")
    elif reachable(CPU_INDEX):
        print(f"{requirement} for the CPU from {CPU_INDEX}: no NVIDIA driver was found")
        command += ["--extra-index-url", CPU_INDEX]
    else:
        print(f"{requirement} as pip finds it: no NVIDIA driver was found, but {CPU_INDEX} cannot be reached")
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main(sys.argv[1])
