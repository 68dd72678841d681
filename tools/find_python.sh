#!/bin/sh
# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
# Print the Python to build the venv with: $PYTHON, or the first suitable one on the PATH; or say what is missing.
check='
import os, platform, sys, sysconfig
try:
    import ensurepip, venv
except ImportError:
    sys.exit(f"its venv module is missing (Debian, Ubuntu: apt install python3-venv)")
if not (3, 10) <= sys.version_info[:2] <= (3, 13):
    sys.exit(f"it is {platform.python_version()}, 3.10 to 3.13 is needed")
if not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")):
    sys.exit("its headers are missing, which the ROS messages need (Debian, Ubuntu: apt install python3-dev)")
print(sys.executable)
'
for python in ${PYTHON:-python3 python3.12 python3.11 python3.13 python3.10}; do
    if answer=$("$python" -c "$check" 2>&1); then
        echo "$answer"
        exit 0
    fi
    reasons="$reasons
  $python: $(echo "$answer" | tail -n 1)"
done
echo "No suitable Python:$reasons
Install one, or name it: make setup PYTHON=/path/to/python3" >&2
exit 1
