# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Plots of a reproduction as PNG."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gld_ros.errors import InvalidRequest
from gld_ros.reproduction.tables import Cell, Table, cell
from gld_ros.reproduction.variants import SYSTEMS


def write_plots(folder: Path, results: dict[str, Any], tables: list[Table]) -> list[tuple[str, Path]]:
    """(title, file) of PSNR against steps and of the first column of each table.

    Raises InvalidRequest without matplotlib.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise InvalidRequest("the plots need matplotlib: pip install 'matplotlib>=3.8,<4'") from error
    matplotlib.use("Agg")
    folder.mkdir(parents=True, exist_ok=True)
    plots = []
    if any(curve["psnr"] for curve in results["curves"].values()):
        plots.append(("PSNR against steps", curves_plot(folder / "curves.png", results)))
    for table in tables:
        if table.key != "a":
            plots.append((table.title, column_plot(folder / f"table-{table.key}.png", table)))
    return plots


def curves_plot(path: Path, results: dict[str, Any]) -> Path:
    """One line a variant; the 95 % intervals of GLD and of the VAE latent shaded."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5), layout="constrained")
    for name, curve in results["curves"].items():
        if not curve["psnr"]:
            continue
        means = [estimated(values) for values in curve["psnr"]]
        (line,) = axes.plot(curve["steps"], [m.mean for m in means], marker="o", label=SYSTEMS[name].title)
        if name in ("level1", "vae"):
            low, high = [m.low or m.mean for m in means], [m.high or m.mean for m in means]
            axes.fill_between(curve["steps"], low, high, color=line.get_color(), alpha=0.15)
    copy = estimated(results["references"]["copy of the nearest source"]["psnr"])
    axes.axhline(copy.mean, color="grey", linestyle="--", label="copy of the nearest source")
    axes.set(xlabel="steps of the diffusion stage", ylabel="PSNR of the target views, dB")
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
    return path


def column_plot(path: Path, table: Table) -> Path:
    """The table's first column, with its intervals."""
    from matplotlib import pyplot

    rows = {name: cells[0] for name, cells in table.rows.items() if cells[0] is not None and " minus " not in name}
    means = [c.mean for c in rows.values() if c is not None]
    spans = [spread(c) for c in rows.values()]
    figure, axes = pyplot.subplots(figsize=(8, 1 + 0.4 * len(rows)), layout="constrained")
    axes.errorbar(means, list(rows), xerr=list(zip(*spans, strict=True)), fmt="o", capsize=3)
    axes.invert_yaxis()
    axes.set(xlabel=table.columns[0])
    axes.grid(axis="x", alpha=0.3)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
    return path


def spread(found: Cell) -> tuple[float, float]:
    """Lengths of the error bar, down and up."""
    if found is None or found.low is None or found.high is None:
        return 0.0, 0.0
    return found.mean - found.low, found.high - found.mean


def estimated(values: list[float]) -> Any:
    found = cell(values)
    assert found is not None
    return found
