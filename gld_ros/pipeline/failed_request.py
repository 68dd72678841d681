# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Requests that the model failed on, kept on disk. `python -m gld_ros.pipeline.failed_request FILE [MODEL]` asks MODEL
(mini by default) again."""

from __future__ import annotations

import io
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gld_ros.errors import FileError
from gld_ros.files import write_bytes
from gld_ros.geometry.cameras import Camera
from gld_ros.views import SourceView

PREFIX = "request_"


@dataclass(frozen=True)
class FailedRequest:
    """`pipe(failed.sources, failed.targets, **failed.settings)` asks again; `reason`: what happened then. Views
    of earlier windows are not kept."""

    sources: list[SourceView]
    targets: list[Camera]
    settings: dict[str, Any]
    reason: str


def save(folder: Path, failed: FailedRequest, keep: int) -> Path:
    """Write `failed` into `folder` (all or nothing) and delete all but the newest `keep` of them; returns the file.

    Raises FileError where that is not possible, as on a full disk.
    """
    arrays: dict[str, Any] = {"head": np.array(json.dumps({"settings": failed.settings, "reason": failed.reason}))}
    for kind, cameras in (("source", [source.camera for source in failed.sources]), ("target", failed.targets)):
        arrays[f"{kind}_K"] = np.stack([camera.K for camera in cameras])
        arrays[f"{kind}_c2w"] = np.stack([camera.c2w for camera in cameras])
        arrays[f"{kind}_size"] = np.array([(camera.width, camera.height) for camera in cameras])
    arrays["source_stamp"] = np.array([source.stamp for source in failed.sources], dtype=np.int64)
    for i, source in enumerate(failed.sources):
        arrays[f"image_{i}"] = source.image
        for name, array in (("depth", source.depth), ("mask", source.mask)):
            if array is not None:
                arrays[f"{name}_{i}"] = array
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    file = folder / f"{PREFIX}{time.time_ns():020d}.npz"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_bytes(file, buffer.getvalue())
        for old in sorted(folder.glob(f"{PREFIX}*.npz"))[:-keep]:
            old.unlink(missing_ok=True)
    except OSError as error:
        raise FileError(f"{file}: cannot be written: {error}") from None
    return file


def load(file: Path) -> FailedRequest:
    """Read a file that `save` wrote. Raises FileError for a file that is something else."""
    try:
        with np.load(file, allow_pickle=False) as arrays:
            head = json.loads(arrays["head"].item())
            cameras = {kind: _cameras(arrays, kind) for kind in ("source", "target")}
            sources = [
                SourceView(
                    arrays[f"image_{i}"],
                    camera,
                    int(arrays["source_stamp"][i]),
                    *(arrays[key] if (key := f"{name}_{i}") in arrays.files else None for name in ("depth", "mask")),
                )
                for i, camera in enumerate(cameras["source"])
            ]
        return FailedRequest(sources, cameras["target"], head["settings"], head["reason"])
    except Exception as error:  # whatever a file can hold
        raise FileError(f"{file} holds no failed request: {type(error).__name__}: {error}") from None


def _cameras(arrays: Any, kind: str) -> list[Camera]:
    sizes = arrays[f"{kind}_size"].tolist()
    return [
        Camera(K, c2w, *size) for K, c2w, size in zip(arrays[f"{kind}_K"], arrays[f"{kind}_c2w"], sizes, strict=True)
    ]


def main(file: str, model: str = "mini") -> None:
    """Ask the model again and print what comes of it. Raises as `load` and the pipeline do."""
    from gld_ros.pipeline.pipeline import GLDPipeline

    failed = load(Path(file))
    print(f"{len(failed.sources)} sources, {len(failed.targets)} targets, {failed.settings}; then: {failed.reason}")
    views = GLDPipeline.from_pretrained(model)(failed.sources, failed.targets, **failed.settings)
    print(f"now: {len(views)} views by '{views[0].model}', scale residual {views[0].scale.residual:.3f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
