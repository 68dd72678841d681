"""Compares with the official code's numbers, and prints a summary of the errors."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest
from oracle import GOLDEN, STATISTICS, Golden
from torch import Tensor


@dataclass
class Comparison:
    fixture: str
    array: str
    max_abs: float
    relative: float
    bound: float


_results: list[Comparison] = []


def pytest_addoption(parser):
    parser.addoption("--report", metavar="FILE", help="write the oracle tests' errors to a JSON file")


@pytest.fixture
def golden() -> Callable[[str], Golden]:
    """golden("camera_map") -> Golden."""
    return lambda name: Golden(GOLDEN / f"{name}.npz")


@pytest.fixture(scope="session")
def statistics() -> Golden:
    """The official latent statistics; skips where they are not at hand."""
    if not STATISTICS.is_file():
        pytest.skip(f"needs the official latent statistics ({STATISTICS}), which are not redistributed")
    return Golden(STATISTICS)


@pytest.fixture
def compare() -> Callable:
    """compare(golden, name, ours, bound): max(|ours - reference|) / max(|reference|) must be within the bound."""

    def check(source: Golden, name: str, ours: Tensor, bound: float, reference: Tensor | None = None) -> None:
        reference = source[name] if reference is None else reference
        assert tuple(ours.shape) == tuple(reference.shape), f"{name}: {tuple(ours.shape)}, not {tuple(reference.shape)}"
        error = float((ours.double() - reference.double()).abs().max())
        relative = error / max(float(reference.double().abs().max()), 1e-30)
        _results.append(Comparison(source.name, name, error, relative, bound))
        assert relative <= bound, f"{source.name}: {name} is off by {relative:.2e} of its maximum, allowed {bound:.0e}"

    return check


def summary() -> Mapping[str, dict]:
    """Per fixture file: how many arrays were compared, and the worst of each error."""
    table: dict[str, dict] = {}
    for result in _results:
        row = table.setdefault(result.fixture, {"arrays": 0, "max_abs": 0.0, "max_relative": 0.0, "worst": ""})
        row["arrays"] += 1
        row["max_abs"] = max(row["max_abs"], result.max_abs)
        of_bound = result.relative / max(result.bound, 1e-30)
        if of_bound >= row.get("of_bound", 0.0):
            row |= {"worst": result.array, "of_bound": of_bound}
        row["max_relative"] = max(row["max_relative"], result.relative)
    return dict(sorted(table.items()))


def pytest_terminal_summary(terminalreporter, config):
    if not _results:
        return
    terminalreporter.section("against the official numbers")
    terminalreporter.write_line(f"{'fixture':24} {'arrays':>6} {'max abs':>9} {'max rel':>9}  nearest to its bound")
    for name, row in summary().items():
        worst = f"{row['worst']} ({100 * row['of_bound']:.0f} %)"
        terminalreporter.write_line(
            f"{name:24} {row['arrays']:>6} {row['max_abs']:>9.1e} {row['max_relative']:>9.1e}  {worst}"
        )
    report = config.getoption("--report", default=None)
    if report:
        content = {"fixtures": summary(), "arrays": [asdict(r) for r in _results]}
        Path(report).write_text(json.dumps(content, indent=1) + "\n")
