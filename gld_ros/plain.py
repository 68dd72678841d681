# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Dataclasses as plain JSON values, and back; unknown keys are an error."""

from __future__ import annotations

import types
from dataclasses import asdict, fields, is_dataclass
from typing import Any, Union, get_args, get_origin, get_type_hints


def to_dict(config: Any) -> dict:
    """A config as plain JSON values."""
    return asdict(config)


def from_dict(kind: type, values: dict) -> Any:
    """A config from `to_dict`'s output; unknown keys are an error."""
    hints = get_type_hints(kind)
    unknown = set(values) - {f.name for f in fields(kind)}
    if unknown:
        raise ValueError(f"{kind.__name__}: unknown fields {sorted(unknown)}")
    return kind(**{k: _restore(hints[k], v) for k, v in values.items()})


def _restore(hint: Any, value: Any) -> Any:
    if get_origin(hint) in (Union, types.UnionType):  # X | None
        if value is None:
            return None
        hint = next(kind for kind in get_args(hint) if kind is not type(None))
    if isinstance(hint, type) and is_dataclass(hint):
        return from_dict(hint, value)
    return tuple(value) if isinstance(value, list) else value
