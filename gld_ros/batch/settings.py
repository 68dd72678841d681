# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Settings of `gld batch`, and where its views come from."""

from __future__ import annotations

import hashlib
import json
import platform
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, Field, ValidationError

import gld_ros
from gld_ros.batch.policies import open_policy
from gld_ros.batch.policies.base import Policy
from gld_ros.errors import InvalidRequest
from gld_ros.reports.provenance import git_revision
from gld_ros.settings import STRICT, Count, explain
from gld_ros.weights.hub import resolve
from gld_ros.weights.verification import weights_of

#: Settings that change where and how fast views are made, but not the views.
FREE = {"out", "workers", "gpus", "address"}


class BatchSettings(BaseModel, frozen=True):
    """The options of `gld batch`.

    ask: a policy (`policies.open_policy`). size: (height, width) the model works at. threads: of torch, the same for
    each worker, as sums depend on it. gpus: share of a GPU for a worker, 0 = CPU, None = one where there are any.
    """

    model_config = STRICT

    out: Path
    model: str = "mini"
    ask: str = "left-out"
    format: Literal["mcap", "nerfstudio", "webdataset"] = "mcap"
    seed: int = 0
    preset: str = "exact"
    steps: Count | None = None
    guidance: float | None = None
    size: tuple[Count, Count] | None = None
    dtype: str | None = None
    workers: Count | None = None
    threads: Count = 1
    gpus: float | None = Field(None, ge=0)
    address: str | None = None

    @classmethod
    def from_options(cls, options: dict[str, Any]) -> BatchSettings:
        """Checked settings. Raises InvalidRequest that names every option that cannot be."""
        try:
            settings = cls(**options)
        except ValidationError as error:
            raise InvalidRequest(explain(error, option=True)) from error
        open_policy(settings.ask)
        return settings

    @property
    def policy(self) -> Policy:
        return open_policy(self.ask)


def provenance(settings: BatchSettings) -> dict[str, Any]:
    """All that the views of a sequence depend on beside the sequence: model, settings, revision, versions. Raises
    ModelError for a model that is not there."""
    weights = json.dumps(weights_of(resolve(settings.model)), sort_keys=True)
    return {
        "model": settings.model,
        "model_sha256": hashlib.sha256(weights.encode()).hexdigest(),
        "settings": settings.model_dump(mode="json", exclude=FREE),
        "device": "cuda" if settings.gpus else "cpu",
        "revision": git_revision(),
        "versions": {
            "gld_ros": gld_ros.__version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
    }


def differences(ours: dict[str, Any], others: dict[str, Any]) -> str:
    """The differences of two provenances, for messages; "" where they are equal."""
    flat = [{**entry, **entry.get("settings", {}), **entry.get("versions", {})} for entry in (ours, others)]
    names = [name for name in flat[0] | flat[1] if name not in ("settings", "versions")]
    return ", ".join(
        f"{name} {flat[0].get(name)} (there {flat[1].get(name)})"
        for name in names
        if flat[0].get(name) != flat[1].get(name)
    )


def request_seed(seed: int, name: str, number: int) -> int:
    """The seed of a request: of the run's, the sequence's name and its number, whoever makes it."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}/{number}".encode()).digest()[:4], "big") >> 1
