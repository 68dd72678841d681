"""`python -m gld_ros.cli` is the `gld` command."""

import sys

from gld_ros.cli import main

sys.exit(main())
