# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Option types, tables and progress bars that the commands share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Column, Table
from typer import Argument, BadParameter, Option
from typer.core import TyperCommand

Item = TypeVar("Item")


def image_size(text: str) -> tuple[int, int]:
    """(H, W) of "WxH". Raises BadParameter for another text and for an empty image."""
    try:
        width, height = map(int, text.lower().split("x"))
    except ValueError:
        raise BadParameter(f"{text!r}: WIDTHxHEIGHT is expected, e.g. 504x280") from None
    if width < 1 or height < 1:
        raise BadParameter(f"{text!r}: width and height above 0 are expected")
    return height, width


def view_counts(text: str) -> tuple[int, int]:
    """(2, 1) of "2+1". Raises BadParameter for another text."""
    try:
        sources, targets = map(int, text.split("+"))
    except ValueError:
        raise BadParameter(f"{text!r}: SOURCES+TARGETS is expected, e.g. 2+1") from None
    return sources, targets


def size_option(text: str, metavar: str = "WxH") -> Any:
    """An option whose values are sizes (H, W)."""
    return Option("--size", parser=image_size, metavar=metavar, help=text)


def views_option(text: str, metavar: str = "S+T") -> Any:
    """An option whose values are numbers (sources, targets) of views."""
    return Option("--views", parser=view_counts, metavar=metavar, help=text)


def assignment(text: str) -> tuple[str, str]:
    """("prompt", "a kitchen") of "prompt=a kitchen"."""
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise BadParameter(f"{text!r}: NAME=VALUE is expected")
    return name, value


class SeveralValues(TyperCommand):
    """A command whose repeatable options take several values at once, too: `--views 2+1 2+2`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        repeatable = {
            name for parameter in self.params if getattr(parameter, "multiple", False) for name in parameter.opts
        }
        words: list[str] = []
        option = None
        for word in args:
            if word.startswith("--"):
                option = word if word in repeatable else None
                words.append(word)
            else:
                words += [option, word] if option and words[-1] != option else [word]
        return super().parse_args(ctx, words)


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """A command that takes options in dataclasses: every field is an option, as if it were a parameter."""
    groups: dict[str, type] = {}
    options: list[Parameter] = []
    for parameter in signature(command, eval_str=True).parameters.values():
        if isinstance(kind := parameter.annotation, type) and is_dataclass(kind):
            groups[parameter.name] = kind
            options += signature(kind, eval_str=True).parameters.values()
        else:
            options.append(parameter)

    @wraps(command)
    def call(**given: Any) -> None:
        made = {
            name: kind(**{field.name: given.pop(field.name) for field in fields(kind)}) for name, kind in groups.items()
        }
        command(**given, **made)

    shown = Signature([option.replace(kind=Parameter.KEYWORD_ONLY) for option in options])
    call.__signature__ = shown  # type: ignore[attr-defined]  # typer reads it
    call.__annotations__ = {option.name: option.annotation for option in options}
    return call


SEQUENCE = "a bag, or a folder of frames and poses (transforms.json, COLMAP, ...), or KIND:PATH?OPTION=VALUE"
Precision = Literal["float32", "bfloat16"]
DeviceKind = Literal["auto", "cpu", "cuda"]
Device = Annotated[str | None, Option(help="cuda or cpu (default: the best there is)")]
Dtype = Annotated[Precision | None, Option(help="precision of the weights (default: the device's best)")]
Offload = Annotated[Literal["sequential"] | None, Option(help="keep only the component at work on the GPU")]
Steps = Annotated[int | None, Option(help="sampling steps of each level (default: the model's)")]
Guidance = Annotated[float | None, Option(help="guidance scale, 1 = none (default: the model's)")]
ModelOptions = Annotated[
    list[Any] | None,
    Option(
        "--option",
        parser=assignment,
        metavar="NAME=VALUE",
        help="what only this model has, such as prompt=TEXT; repeatable",
    ),
]
Json = Annotated[bool, Option("--json", help="print the whole report as JSON, not a table")]
ModelName = Annotated[str, Argument(metavar="MODEL", help="name of a model or folder of its weights")]
OutFolder = Annotated[Path, Option("--out", help="folder to write")]


@dataclass(frozen=True)
class Opening:
    """How a command opens its sequence."""

    calibration: Annotated[
        Path | None,
        Option(metavar="FILE", help="of a bag's camera: camera_info YAML of ROS; for bags without CameraInfo"),
    ] = None
    trajectory: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            help="of a bag's camera: lines of stamp tx ty tz qx qy qz qw (TUM), the pose of the camera's optical frame "
            "(x right, y down, z forward); for bags without poses",
        ),
    ] = None
    trajectory_frame: Annotated[
        str | None, Option(metavar="FRAME", help="TF frame that the trajectory is of, instead of the optical one")
    ] = None
    skip_bad_frames: Annotated[
        bool, Option("--skip-bad-frames", help="leave bad frames out; those left are counted from 0")
    ] = False

    def open(self, path: Path) -> Any:
        """The `data.sequence.Sequence` of a path, or of `KIND:PATH?OPTION=VALUE`. Raises InvalidRequest."""
        from gld_ros.data.sequence import open_sequence

        return open_sequence(path, **{name: value or None for name, value in vars(self).items()})


def show(columns: Sequence[str | Column], rows: Iterable[Sequence[str]], title: str | None = None) -> None:
    """Print a table; where stdout is no terminal its lines are not wrapped. A column's name that begins with ">" is
    that of figures, at the right."""
    heads = [
        Column(column[1:], justify="right", no_wrap=True) if isinstance(column, str) and column[:1] == ">" else column
        for column in columns
    ]
    table = Table(
        *heads, box=None, pad_edge=False, title=title, title_justify="left", title_style="bold", header_style="bold"
    )
    for row in rows:
        table.add_row(*row)
    width = None if sys.stdout.isatty() else 1000
    Console(markup=False, highlight=False, emoji=False, width=width).print(table)


@contextmanager
def progress(description: str, total: float | None = None) -> Iterator[Callable[..., None]]:
    """A bar on a terminal's stderr, gone at the end; yields `update(advance, completed=, description=)`."""
    columns = [TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()]
    console = Console(stderr=True)
    if not console.is_terminal:  # some versions of rich print an empty line for a bar that is disabled
        yield lambda advance=None, **changes: None
        return
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(description, total=total)
        yield lambda advance=None, **changes: bar.update(task, advance=advance, **changes)


def track(items: Iterable[Item], description: str) -> Iterator[Item]:
    """Go through `items` beside a progress bar."""
    items = list(items)
    with progress(description, len(items)) as update:
        for item in items:
            yield item
            update(1)
