# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The field cases (`../shared/cases`), and the commands that people type."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from gld_ros.cli import main

CASES = Path(os.environ.get("GLD_TEST_CASES", Path(__file__).parents[2].parent / "shared" / "cases"))


def case(number: int, name: str = "scene") -> Path:
    """The input of a case; skips where the cases are not on this machine."""
    found = sorted(CASES.glob(f"{number:02d}-*"))
    if not found:
        pytest.skip(f"{CASES} is not on this machine; set GLD_TEST_CASES to the folder of field cases")
    return found[0] / name


def synthesized(scene: Path, out: Path, sources: str = "0,6", target: int = 3) -> dict:
    """The report of one view."""
    targets = ["--sources", sources, "--targets", str(target)]
    assert main(["synthesize", str(scene), *targets, "--out", str(out)]) == 0
    return json.loads((out / "report.json").read_text())
