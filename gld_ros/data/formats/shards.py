# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Tar shards in the layout of webdataset, for clusters: a few large files in place of millions of small ones.

    shard-000000.tar    of every scene, one after the other: KEY.0000.jpg, KEY.0001.jpg, ... (or .png),
                        KEY.depth.0000.png (uint16) and KEY.mask.0000.png where known, KEY.json: name, size, unit,
                        and per frame camera, stamp
    index.json          where in which shard every scene's KEY.json begins

Other programs read them as any webdataset. Here scenes are read in any order by seeking, so that a run resumes and is
split over ranks exactly as with any other data set.
"""

from __future__ import annotations

import io
import json
import tarfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gld_ros.data.framing import view_at
from gld_ros.data.reading import depth_image, read_depth, read_rgb
from gld_ros.data.scenes import Progress, Scenes, Skipped, existing_folder
from gld_ros.data.sequence import Frame
from gld_ros.errors import InvalidRequest
from gld_ros.files import replacing, write_text
from gld_ros.geometry.cameras import Camera

INDEX = "index.json"
DEPTH_LEVELS = 60_000  # of a scene's depth images: its farthest point takes the last


class Shards(Scenes):
    """Scenes of a folder that `write_shards` wrote."""

    def __init__(self, path: str | Path) -> None:
        self.root = existing_folder(path)
        file = self.root / INDEX
        try:
            self.index = json.loads(file.read_text())["scenes"]
        except FileNotFoundError:
            raise InvalidRequest(
                f"{file} does not exist; `gld data shard` writes it last: was it interrupted?"
            ) from None
        except (ValueError, KeyError, TypeError):
            raise InvalidRequest(f"{file}: not an index of shards; is it truncated?") from None
        super().__init__([entry["name"] for entry in self.index], str(path))

    def read(self, index: int) -> list[Frame]:
        entry = self.index[index]
        shard, name = self.root / entry["shard"], entry["name"]
        description = _bytes(shard, *entry["at"])
        try:
            scene = json.loads(description)
        except ValueError:
            raise InvalidRequest(f"{shard}: {name}: its description cannot be read; is the shard truncated?") from None
        return [_frame(shard, f"{shard}: {name}: frame {k}", frame) for k, frame in enumerate(scene["frames"])]


def _frame(shard: Path, where: str, entry: dict[str, Any]) -> Frame:
    size = entry["width"], entry["height"]
    camera = Camera(np.array(entry["K"]), np.array(entry["c2w"]), *size).check(where)
    depth, mask = entry.get("depth"), entry.get("mask")
    return Frame(
        name=where,
        camera_name=entry["camera"],
        stamp=entry["stamp"],
        camera=camera,
        read_image=lambda: read_rgb(_bytes(shard, *entry["image"]), where, size),
        read_depth=(lambda: read_depth(_bytes(shard, *depth), entry["depth_unit"], where, size)) if depth else None,
        read_mask=(lambda: read_rgb(_bytes(shard, *mask), where, size)[..., 0] > 0) if mask else None,
    )


def _bytes(file: Path, start: int, length: int) -> bytes:
    try:
        with file.open("rb") as stream:
            stream.seek(start)
            content = stream.read(length)
    except OSError as error:
        raise InvalidRequest(f"{file}: cannot be read ({error.strerror})") from None
    if len(content) != length:
        raise InvalidRequest(f"{file}: ends before byte {start + length}; the shard is truncated")
    return content


def write_shards(
    scenes: Scenes,
    folder: str | Path,
    size: tuple[int, int] | None = None,
    quality: int | None = 95,
    shard_bytes: int = 500_000_000,
    progress: Progress = iter,
) -> Skipped:
    """Write `scenes` as shards; bad ones are left out. Returns what was skipped.

    size: (width, height) of every image; None keeps them. quality: of JPEG; None writes PNG, without loss.
    Raises InvalidRequest where `folder` holds an index already or cannot be written, or no scene is good.
    """
    folder = Path(folder)
    if (folder / INDEX).exists():
        raise InvalidRequest(f"{folder}: holds shards already, not overwriting them")
    skipped, shards = Skipped(), _Shards(folder, shard_bytes)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for index in progress(range(len(scenes))):
            try:
                members, frames = _packed(scenes.frames(index), size, quality)
            except InvalidRequest as error:
                skipped.add(scenes.names[index], str(error))
                continue
            shards.add(f"{index:08d}", scenes.names[index], members, frames)
        shards.close()
        if not shards.index:
            raise InvalidRequest(f"{scenes.where}: no scene could be read. {skipped}")
        write_text(folder / INDEX, json.dumps({"scenes": shards.index}))
    except OSError as error:
        raise InvalidRequest(f"{folder}: cannot be written ({error.strerror})") from None
    return skipped


def _packed(
    frames: list[Frame], size: tuple[int, int] | None, quality: int | None
) -> tuple[dict[str, bytes], list[dict[str, Any]]]:
    """Files of a scene by the end of their name, and its frames for KEY.json; `image` and `depth` still are names."""
    members: dict[str, bytes] = {}
    entries = []
    for number, frame in enumerate(frames):
        view = view_at(frame, size)
        camera = view.camera
        name = f"{number:04d}.{'png' if quality is None else 'jpg'}"
        members[name] = encoded(view.image, quality)
        entry = {"width": camera.width, "height": camera.height, "K": camera.K.tolist(), "c2w": camera.c2w.tolist()}
        entry |= {"camera": frame.camera_name, "stamp": frame.stamp, "image": name}
        if view.depth is not None and np.isfinite(view.depth).any():
            unit = max(float(np.nanmax(view.depth)), 1e-6) / DEPTH_LEVELS
            entry |= {"depth": f"depth.{number:04d}.png", "depth_unit": unit}
            members[entry["depth"]] = encoded(depth_image(view.depth, unit), None)
        if view.mask is not None:
            entry["mask"] = f"mask.{number:04d}.png"
            members[entry["mask"]] = encoded(view.mask, None)
        entries.append(entry)
    return members, entries


def append(tar: tarfile.TarFile, name: str, content: bytes) -> tuple[int, int]:
    """Append a file; its place in the archive: (first byte, number of bytes)."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    start = tar.offset + tarfile.BLOCKSIZE  # after the header
    tar.addfile(info, io.BytesIO(content))
    return start, len(content)


def encoded(pixels: np.ndarray | Image.Image, quality: int | None) -> bytes:
    """JPEG of that quality, or PNG (None)."""
    image = Image.fromarray(pixels) if isinstance(pixels, np.ndarray) else pixels
    stream = io.BytesIO()
    if quality is None:
        image.save(stream, "PNG")
    else:
        image.save(stream, "JPEG", quality=quality, subsampling=0)
    return stream.getvalue()


class _Shards:
    """Tar files of about `size` bytes, one after the other; each gets its name when it is complete.

    index: what `INDEX` says of every scene.
    """

    def __init__(self, folder: Path, size: int) -> None:
        self.folder, self.size = folder, size
        self.index: list[dict[str, Any]] = []
        self._files: list[Path] = []
        self._tar: tarfile.TarFile | None = None
        self._unfinished = ExitStack()

    def add(self, key: str, name: str, members: dict[str, bytes], frames: list[dict[str, Any]]) -> None:
        """Append a scene. frames: their descriptions, where `image` and `depth` still are names of members."""
        if self._tar is None or self._tar.offset > self.size:
            self.close()
            self._files.append(self.folder / f"shard-{len(self._files):06d}.tar")
            unfinished = self._unfinished.enter_context(replacing(self._files[-1]))
            self._tar = self._unfinished.enter_context(tarfile.open(unfinished, "w", format=tarfile.USTAR_FORMAT))
        places = {member: append(self._tar, f"{key}.{member}", content) for member, content in members.items()}
        for entry in frames:
            entry |= {field: places[entry[field]] for field in ("image", "depth", "mask") if field in entry}
        description = json.dumps({"name": name, "frames": frames}).encode()
        at = append(self._tar, f"{key}.json", description)
        self.index.append({"name": name, "shard": self._files[-1].name, "at": at})

    def close(self) -> None:
        """Complete the last file."""
        self._unfinished.close()
