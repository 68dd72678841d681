# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Writes docs/interfaces.md and config/sros2/policies.xml from what the nodes declare; `--check` only says whether they
are out of date."""

from __future__ import annotations

import argparse
import difflib
import sys
from pathlib import Path

from gld_ros.ros.interface.page import interface_page
from gld_ros.ros.interface.policy import policy_document

ROOT = Path(__file__).parents[3]


def main(arguments: list[str] | None = None) -> int:
    """Write the files, or compare them; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m gld_ros.ros.interface", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a file is out of date")
    check = parser.parse_args(arguments).check
    stale = False
    documents = {"docs/interfaces.md": interface_page(ROOT), "config/sros2/policies.xml": policy_document()}
    for name, text in documents.items():
        before = (ROOT / name).read_text()
        if before != text and check:
            stale = True
            changes = difflib.unified_diff(before.splitlines(), text.splitlines(), "now", "expected", lineterm="", n=0)
            print(f"{name} is out of date; `make docs` writes it anew:", *changes, sep="\n", file=sys.stderr)
        elif before != text:
            (ROOT / name).write_text(text)
            print(f"wrote {name}")
    return int(stale)


if __name__ == "__main__":
    sys.exit(main())
