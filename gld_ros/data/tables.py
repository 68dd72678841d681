# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Text files of columns: numbers, matrices, times, with errors that name the file and the line."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from pathlib import Path

import numpy as np

from gld_ros.data.reading import read_text
from gld_ros.errors import InvalidRequest

UNITS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}  # nanoseconds
LAST_SECOND = 2**31  # of builtin_interfaces/Time


def nanoseconds(value: str | float, unit: str, where: str, option: str | None) -> int:
    """A time in `unit` as ns, with all its digits. option: what says the unit, for messages; None where nothing does.

    0 becomes 1, as ROS takes 0 for no time.
    Raises InvalidRequest for no number, an unknown unit, and a time that ROS cannot have.
    """
    if unit not in UNITS:
        raise InvalidRequest(f"{where}: {option} is {unit!r}, one of {', '.join(UNITS)} is expected")
    try:
        stamp = round(Decimal(str(value)) * UNITS[unit])
    except (InvalidOperation, ValueError, OverflowError):
        raise InvalidRequest(f"{where}: the time {value!r}; a number is expected") from None
    if not 0 <= stamp < LAST_SECOND * 10**9:
        raise InvalidRequest(
            f"{where}: timestamp is {value} {unit}, seconds from 0 up to 2^31 are expected (ROS has no others)"
            + (f"; {option} says if the numbers are ns, us or ms" if option else "")
        )
    return max(int(stamp), 1)


def columns(file: Path, counts: Iterable[int] = (), separator: str | None = None) -> list[list[str]]:
    """The columns of every line that is no comment; as many as one of `counts`, or any number.

    separator: between columns; None for blanks. Raises InvalidRequest for other numbers and an empty file.
    """
    lines = [line for line in read_text(file).splitlines() if line.strip() and not line.lstrip().startswith("#")]
    rows = [[part.strip() for part in line.split(separator)] for line in lines]
    for number, row in enumerate(rows):
        if counts and len(row) not in counts:
            expected = " or ".join(map(str, counts))
            raise InvalidRequest(f"{file}: entry {number} has {len(row)} columns, {expected} are expected")
    if not rows:
        raise InvalidRequest(f"{file}: empty")
    return rows


def numbers(texts: Iterable[str], where: str) -> list[float]:
    """Raises InvalidRequest for what is no number."""
    try:
        return [float(text) for text in texts]
    except ValueError as error:
        raise InvalidRequest(f"{where}: {error}; a number is expected") from None


def read_matrix(file: Path) -> np.ndarray:
    """(4, 4) numbers of a text file. Raises InvalidRequest for any other number of them."""
    rows = [numbers(row, str(file)) for row in columns(file)]
    if [len(row) for row in rows] != [4] * 4:
        raise InvalidRequest(f"{file}: {' + '.join(str(len(row)) for row in rows)} numbers, 4 x 4 are expected")
    return np.array(rows)
