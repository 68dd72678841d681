# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Settings of a run, checked by pydantic: no unknown keys, no value of another type than declared."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

STRICT = ConfigDict(strict=True, extra="forbid")
Count = Annotated[int, Field(ge=1)]


def explain(error: ValidationError, option: bool = False) -> str:
    """Every problem in one line: the key, its value and what is expected. option: keys are those of a command line."""
    return "; ".join(_problem(problem, option) for problem in error.errors(include_url=False))


def _problem(problem: ErrorDetails, option: bool) -> str:
    key = ".".join(map(str, problem["loc"]))
    key = f"--{key.replace('_', '-')}" if option else key
    if problem["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"unknown setting {key}"
    if problem["type"] == "value_error":
        return str(problem["ctx"]["error"])
    expected = problem["msg"].replace("Input should be", "expected", 1).replace("greater than or equal to", "at least")
    return f"{key} is {problem['input']!r}, {expected}"
