# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Records of a run for people: a line a step, TensorBoard scalars, sample sheets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from gld_ros.errors import ModelError
from gld_ros.training import checkpoint

SCALARS_EVERY = 10


class Records:
    """`folder/log.jsonl` (every step), `folder/tensorboard`, `folder/samples/*.png`.

    What a killed run wrote after the checkpoint it goes on from, at `step`, is dropped: each step is there once.
    """

    def __init__(self, folder: Path, step: int):
        from torch.utils.tensorboard import SummaryWriter  # slow to import

        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / "log.jsonl"
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


def sheet(rows: list[Tensor], height: int = 128) -> Tensor:
    """Pictures (N, 3, h, w) row by row as one (3, H, W), each about `height` pixels high."""
    factor = max(1, round(height / rows[0].shape[-2]))
    large = [F.interpolate(row.float().clamp(0, 1), scale_factor=factor, mode="nearest") for row in rows]
    return torch.cat([torch.cat(list(F.pad(row, (2, 2, 2, 2), value=1.0)), dim=2) for row in large], dim=1)
