# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Settings of an evaluation, and the scenes that they name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError, model_validator

from gld_ros.data.scenes import Skipped, open_scenes
from gld_ros.data.splits import read_split
from gld_ros.errors import InvalidRequest
from gld_ros.evaluation.scenes import SPLITS, Scene, room_scenes, scenes_of, with_source_depth
from gld_ros.settings import STRICT, Count, explain

ROOMS = 200  # scenes of procedural rooms, by default
PATHS = 12  # of them for `path`, by default
VIEWS, GAP = 8, 1  # of the clips of other data, by default
AWAY_SAMPLES = 8  # of every view of `away`, by default
CLIPS = ("views", "gap", "clips", "size")  # settings that only clips of other data have
#: Settings that need other scenes, methods or figures than `away` and `path` have.
NOT_AWAY = (
    "data",
    *CLIPS,
    "source_depth",
    "peer",
    "against",
    "lpips",
    "dino",
    "save_views",
    "sources",
    "official_scale",
)


class EvaluationSettings(BaseModel, frozen=True):
    """The options of `gld eval`. size: (height, width) in pixels."""

    model_config = STRICT

    model: str
    data: list[str] | None = None
    split: str | None = None
    scenes: Count | None = None
    away: bool = False
    path: int | None = Field(None, ge=2)
    sources: int = 2
    views: Count | None = None
    gap: Count | None = None
    clips: Count | None = None
    source_depth: bool = False
    official_scale: bool = False
    size: tuple[Count, Count] | None = None
    samples: int | None = None
    steps: int | None = None
    guidance: float | None = None
    seed: int = 0
    peer: list[str] = []
    against: list[str] = []
    lpips: Path | None = None
    dino: Path | None = None
    device: str | None = None
    dtype: str | None = None
    offload: str | None = None
    out: Path | None = None
    save_views: bool = False

    @classmethod
    def from_options(cls, options: dict[str, Any]) -> EvaluationSettings:
        """Checked settings. Raises InvalidRequest that names every option that cannot be."""
        try:
            return cls(**options)
        except ValidationError as error:
            raise InvalidRequest(explain(error, option=True)) from error

    @model_validator(mode="after")
    def _agree(self) -> EvaluationSettings:
        if self.save_views and not self.out:
            raise ValueError("--save-views needs --out, the folder to write them to")
        mode = "away" if self.away else "path" if self.path else ""
        for name in (*NOT_AWAY, *({"path"} if self.away else {"samples"})) if mode else ():
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"--{name.replace('_', '-')} does not go together with --{mode}")
        if self.data:
            return self
        if self.rooms_split not in SPLITS or self.sources != 2:
            raise ValueError(
                f"--split {self.rooms_split}, --sources {self.sources}: without --data rooms are evaluated, "
                f"with 2 sources; their splits are {', '.join(SPLITS)}"
            )
        for name in CLIPS:
            if getattr(self, name) is not None:
                raise ValueError(f"--{name}: without --data rooms are evaluated, which are as they are")
        return self

    @property
    def rooms_split(self) -> str:
        """Split of the procedural rooms."""
        return self.split or "test"

    @property
    def drawn(self) -> int:
        """Samples of every view."""
        default = AWAY_SAMPLES if self.away else 1
        return default if self.samples is None else self.samples

    def report(self, steps: int) -> dict[str, Any]:
        """Plain values for a report. steps: those of the model, where none are given."""
        size = self.size and "{1}x{0}".format(*self.size)
        split = self.split if self.data else self.rooms_split
        given = {"size": size, "steps": self.steps or steps, "samples": self.drawn, "split": split}
        if self.data:
            given |= {"views": self.views or VIEWS, "gap": self.gap or GAP}
        return self.model_dump(mode="json") | given

    def open_scenes(self, skipped: Skipped) -> tuple[Iterator[Scene], int | None]:
        """The scenes, and how many there are where that is known."""
        if self.data:
            scenes, count = self._clips(skipped, read_split(self.split) if self.split else None), None
        else:
            count = self.scenes or ROOMS
            scenes = room_scenes(self.rooms_split, count)
        return map(with_source_depth, scenes) if self.source_depth else scenes, count

    def _clips(self, skipped: Skipped, entries: Any) -> Iterator[Scene]:
        size = None if self.size is None else (self.size[1], self.size[0])
        counts = self.sources, self.views or VIEWS, self.gap or GAP
        taken: set[str] = set()  # figures, sheets and files go by the scene's name
        for spec in self.data or ():
            group = Path(spec.partition(":")[2].partition("?")[0]).name or spec
            found = scenes_of(open_scenes(spec), group, *counts, entries, size, skipped, self.clips)
            for scene in islice(found, self.scenes):
                if scene.name in taken:
                    scene = replace(scene, name=f"{group}_{scene.name}")
                if scene.name in taken:
                    raise InvalidRequest(f"{spec}: a scene {scene.name} was there before; give the folder another name")
                taken.add(scene.name)
                yield scene
