# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Make the ROS wheels' CMake files usable in the venv that runs this.

They name the include folders of the machine that built them (/opt/python/cp3XX-cp3XX/...); put those of this Python
and its numpy there instead. Running it again changes nothing.
"""

import re
import sys
import sysconfig
from pathlib import Path

import numpy as np

BUILD_MACHINE = r"/opt/python/cp3\d+-cp3\d+"
FIXES = (
    (re.compile(BUILD_MACHINE + r"/include/python3\.\d+"), sysconfig.get_path("include")),
    (re.compile(BUILD_MACHINE + r"/lib/python3\.\d+/site-packages/numpy/_?core/include"), np.get_include()),
)


def main() -> None:
    fixed = 0
    for file in Path(sys.prefix, "share").glob("**/cmake/*.cmake"):
        old = new = file.read_text()
        for pattern, path in FIXES:
            new = pattern.sub(path, new)
        if new != old:
            file.write_text(new)
            fixed += 1
    print(f"{fixed} CMake files of the ROS wheels corrected")


if __name__ == "__main__":
    main()
