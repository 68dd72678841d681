# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""All views of one sequence, written whole or not at all. A worker is one `Maker`."""

from __future__ import annotations

import json
import logging
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from gld_ros.batch.sequences import Item
from gld_ros.batch.settings import BatchSettings, differences, provenance, request_seed
from gld_ros.batch.writers import Shot, writer
from gld_ros.data.sequence import Sequence
from gld_ros.errors import GLDError, InvalidRequest, ModelError, NoContext, ScaleUnknown
from gld_ros.files import replacing_folder, write_text
from gld_ros.pipeline import GLDPipeline

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Made:
    """The outcome of a sequence. refused: requests that the model refused. cpu: seconds of this process. error: why
    there are no views of it."""

    name: str
    views: int = 0
    refused: int = 0
    cpu: float = 0.0
    error: str | None = None


class Maker:
    """Makes the views of sequences, one after the other, with one model.

    origin: the provenance that the run began with; what is made elsewhere has to be the same.
    """

    def __init__(self, settings: BatchSettings, origin: dict[str, Any]) -> None:
        self.settings, self.origin = settings, origin

    def ready(self) -> None:
        """Load the model. Raises ModelError, also where it or the software is not that of the run; OutOfMemory;
        InvalidRequest for a preset, steps or guidance that the model does not have."""
        self.pipe.generator.preset(self.settings.preset).changed(self.settings.steps, self.settings.guidance)

    @cached_property
    def pipe(self) -> GLDPipeline:
        torch.set_num_threads(self.settings.threads)
        if differing := differences(provenance(self.settings), self.origin):
            raise ModelError(f"this worker has not what the run began with: {differing}")
        device = "cuda" if self.settings.gpus else "cpu"
        return GLDPipeline.from_pretrained(self.settings.model, device=device, dtype=self.settings.dtype)

    def make(self, item: Item) -> Made:
        """Write the views and the manifest of a sequence into its folder; an error is part of the answer."""
        before = time.process_time()
        try:
            manifest = self._make(item)
        except GLDError as error:
            return Made(item.name, error=f"{error.code}: {error}")
        except Exception as error:  # a bad sequence must not stop the others, whatever a library makes of it
            logging.getLogger(__name__).exception("%s", item.name)
            return Made(item.name, error=f"{type(error).__name__}: {error}")
        return Made(item.name, len(manifest["views"]), len(manifest["refused"]), time.process_time() - before)

    def _make(self, item: Item) -> dict[str, Any]:
        manifest: dict[str, Any] = {"sequence": item.name, "data": item.data, "index": item.index, **self.origin}
        manifest |= {"views": [], "refused": [], "notices": []}
        pipe = self.pipe
        with notices() as noticed, replacing_folder(self.settings.out / item.name) as new:
            sequence = item.read()
            manifest["metric"] = sequence.metric
            writer(self.settings.format)(new, sequence, self._shots(pipe, sequence, manifest))
            manifest["notices"] = sorted(noticed)
            write_text(new / MANIFEST, json.dumps(manifest, indent=1) + "\n")
        return manifest

    def _shots(self, pipe: GLDPipeline, sequence: Sequence, manifest: dict[str, Any]) -> Iterator[Shot]:
        """The views, each when it is asked for. Raises InvalidRequest where there are none."""
        asks = self.settings.policy.asks(sequence, lambda k: request_seed(self.settings.seed, sequence.name, k))
        for ask in asks:
            sources = [frame.view() for frame in ask.sources]
            about = {"seed": ask.seed, "sources": [frame.name for frame in ask.sources]}
            about["source_stamps"] = [frame.stamp for frame in ask.sources]
            try:
                views = pipe(
                    sources, ask.targets, preset=self.settings.preset, steps=self.settings.steps,
                    guidance_scale=self.settings.guidance, size=self.settings.size, seed=ask.seed,
                )  # fmt: skip
            except (ScaleUnknown, NoContext) as error:
                manifest["refused"].append({**about, "stamps": ask.stamps, "reason": f"{error.code}: {error}"})
                continue
            camera_name = ask.sources[0].camera_name
            for view, stamp in zip(views, ask.stamps, strict=True):
                scale = {"value": view.scale.value, "method": view.scale.method, "residual": view.scale.residual}
                camera = {"K": view.camera.K.tolist(), "c2w": view.camera.c2w.tolist()}
                manifest["views"].append({"camera": camera_name, "stamp": stamp, **camera, "scale": scale, **about})
                yield Shot(view, camera_name, stamp)
        if not manifest["views"]:
            refused = manifest["refused"]
            why = f"{len(refused)} requests, all refused; {refused[0]['reason']}" if refused else "nothing to ask for"
            raise InvalidRequest(f"no view could be made: {why}")


@contextmanager
def notices() -> Iterator[set[str]]:
    """The texts of all warnings, of the warnings module and of this package's logs."""
    found: set[str] = set()

    class Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.add(record.getMessage())

    keeper, logger = Keeper(logging.WARNING), logging.getLogger("gld_ros")
    logger.addHandler(keeper)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            yield found
            found |= {str(w.message) for w in caught if issubclass(w.category, UserWarning)}
    finally:
        logger.removeHandler(keeper)
