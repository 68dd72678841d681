# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`python -m gld_ros.ros.demo`."""

import sys

from gld_ros.ros.demo.demo import main

if __name__ == "__main__":
    sys.exit(main())
