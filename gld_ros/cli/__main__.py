# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`python -m gld_ros.cli` is the `gld` command."""

import sys

from gld_ros.cli import main

sys.exit(main())
