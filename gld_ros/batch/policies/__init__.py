# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Policies of `gld batch`, which choose the views to ask for: one file with a subclass of `Policy` each, and a line in
POLICIES."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from pydantic import ValidationError

from gld_ros.batch.policies.base import Policy
from gld_ros.data.scenes import parse
from gld_ros.errors import InvalidRequest
from gld_ros.settings import explain

#: Class of every policy, imported when it is used.
POLICIES = {
    "left-out": "left_out.LeftOut",
    "offsets": "offsets.Offsets",
    "path": "path.AlongPath",
    "away": "away.Away",
    "poses": "poses.Poses",
}


def open_policy(text: str) -> Policy:
    """The policy of `NAME?OPTION=VALUE&...`. Raises InvalidRequest for an unknown name or option, or a wrong value."""
    name, options = parse(text)
    if name not in POLICIES:
        raise InvalidRequest(f"--ask {text!r}: unknown policy {name!r}, one of {', '.join(POLICIES)} is expected")
    module, kind = POLICIES[name].split(".")
    policy = cast(type[Policy], getattr(import_module(f"gld_ros.batch.policies.{module}"), kind))
    try:
        return policy(**options)
    except ValidationError as error:
        raise InvalidRequest(f"--ask {text!r}: {explain(error)}") from None
