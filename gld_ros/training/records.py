# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Records of a run for people: a line a step, TensorBoard scalars, sample sheets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from einops import rearrange
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from gld_ros.errors import ModelError
from gld_ros.training import checkpoint

SCALARS_EVERY = 10
#: Pixels that a picture of a sample sheet is about high.
HEIGHT = 128


class Records:
    """`folder/log.jsonl` (every step), `folder/tensorboard`, `folder/samples/*.png`.

    What a killed run wrote after the checkpoint it goes on from, at `step`, is dropped: each step is there once.
    """

    def __init__(self, folder: Path, step: int):
        from torch.utils.tensorboard import SummaryWriter  # slow to import

        self.folder, self.log = folder, folder / "log.jsonl"
        folder.mkdir(parents=True, exist_ok=True)
        lines = [line for line in read_log(folder) if line["step"] <= step]
        self.log.write_text("".join(json.dumps(line) + "\n" for line in lines))
        self._board = SummaryWriter(folder / "tensorboard", purge_step=step + 1)

    def write(self, step: int, values: dict[str, float]) -> None:
        """Record a step, counted from 1."""
        line = json.dumps({"step": step} | {name: float(f"{v:.6g}") for name, v in values.items()}) + "\n"
        with self._explained():
            with self.log.open("a") as log:
                log.write(line)
            if step % SCALARS_EVERY == 0:
                for name, value in values.items():
                    self._board.add_scalar(f"train/{name.lstrip('_')}", value, step)

    def picture(self, step: int, picture: Tensor) -> None:
        """Keep a sample sheet (3, H, W), 0..1."""
        place = self.folder / "samples" / f"step-{step:08d}.png"
        pixels = (picture.detach().float().clamp(0, 1) * 255).round().byte().cpu()
        with self._explained():
            place.parent.mkdir(exist_ok=True)
            Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(place)
            self._board.add_image("samples", pixels, step)

    def close(self) -> None:
        with self._explained():
            self._board.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            kept = checkpoint.latest(self.folder) or "there is no checkpoint yet"
            raise ModelError(f"{self.folder}: records could not be written ({error}); to go on from: {kept}") from error


def read_log(folder: Path) -> list[dict[str, float]]:
    """The lines of a run's log.jsonl; a last line that was cut off is left out."""
    path = folder / "log.jsonl"
    lines = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return lines


def sheet(*pictures: Tensor) -> Tensor:
    """One picture (3, H, W), 0..1: for each scene a row of views from each of `pictures` (B, V, 3, h, w)."""
    factor = max(1, round(HEIGHT / pictures[0].shape[-2]))
    rows = torch.stack([x.float().clamp(0, 1) for x in pictures], dim=1)
    large = rows.repeat_interleave(factor, dim=-1).repeat_interleave(factor, dim=-2)
    return rearrange(F.pad(large, (2, 2, 2, 2), value=1.0), "b row v c h w -> c (b row h) (v w)")
