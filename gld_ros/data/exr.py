# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Depth in OpenEXR files: scan lines of one part, uncompressed or with zlib, as phones and renderers write them.

The layout is that of https://openexr.com/en/latest/OpenEXRFileLayout.html.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np

from gld_ros.errors import InvalidRequest

MAGIC = 20000630
UNREAD_FLAGS = {0x200: "tiles", 0x800: "deep pixels", 0x1000: "several parts"}
COMPRESSIONS = ("none", "RLE", "ZIPS", "ZIP", "PIZ", "PXR24", "B44", "B44A", "DWAA", "DWAB")
LINES = {"none": 1, "ZIPS": 1, "ZIP": 16}  # of a chunk
TYPES = (np.dtype("<u4"), np.dtype("<f2"), np.dtype("<f4"))
CHANNELS = ("Z", "Y", "R", "depth.Z", "V")  # that hold depth, the first that is there


def read_exr(content: bytes, where: str) -> np.ndarray:
    """(H, W) depth channel, or the only one, as stored. Raises InvalidRequest for a file that cannot be read."""
    try:
        return _read(content, where)
    except (struct.error, zlib.error, ValueError, IndexError, KeyError) as error:
        if isinstance(error, InvalidRequest):
            raise
        raise InvalidRequest(f"{where}: not a readable OpenEXR file ({error}); is it truncated?") from None


def _read(content: bytes, where: str) -> np.ndarray:
    magic, version = struct.unpack_from("<II", content)
    if magic != MAGIC:
        raise InvalidRequest(f"{where}: no OpenEXR file")
    for flag, name in UNREAD_FLAGS.items():
        if version & flag:
            raise InvalidRequest(f"{where}: an OpenEXR file with {name}; scan lines of one part are expected")
    header, at = _header(content)
    compression = COMPRESSIONS[header["compression"][0]]
    if compression not in LINES:
        raise InvalidRequest(f"{where}: OpenEXR compression {compression}; one of {', '.join(LINES)} is expected")
    left, top, right, bottom = struct.unpack("<4i", header["dataWindow"])
    width, height, lines = right - left + 1, bottom - top + 1, LINES[compression]
    channels = _channels(header["channels"])
    wanted = next((name for name in CHANNELS if name in channels), next(iter(channels)) if len(channels) == 1 else None)
    if wanted is None:
        raise InvalidRequest(
            f"{where}: channels {', '.join(channels)}; depth is expected in one of {', '.join(CHANNELS)}"
        )
    # A line holds all of one channel, then all of the next.
    starts = np.cumsum([0, *(kind.itemsize * width for kind in channels.values())])
    start = int(starts[list(channels).index(wanted)])
    kind, line_size = channels[wanted], int(starts[-1])
    image = np.empty((height, width), kind)
    for offset in struct.unpack_from(f"<{-(-height // lines)}Q", content, at):
        y, size = struct.unpack_from("<ii", content, offset)
        row = y - top
        count = min(lines, height - row)
        data = content[offset + 8 : offset + 8 + size]
        if size < count * line_size:  # what would not become smaller is stored as it is
            data = _unpredicted(zlib.decompress(data))
        block = np.frombuffer(data, np.uint8, count * line_size).reshape(count, line_size)
        part = np.ascontiguousarray(block[:, start : start + kind.itemsize * width])
        image[row : row + count] = part.view(kind)
    return image


def _header(content: bytes) -> tuple[dict[str, bytes], int]:
    """Attributes by name, and where the offsets of the chunks begin."""
    found, at = {}, 8
    while content[at]:
        name, _, rest = content[at : at + 512].partition(b"\0")
        kind = rest.partition(b"\0")[0]
        at += len(name) + len(kind) + 2
        (size,) = struct.unpack_from("<i", content, at)
        found[name.decode()] = content[at + 4 : at + 4 + size]
        at += 4 + size
    return found, at + 1


def _channels(data: bytes) -> dict[str, np.dtype]:
    """Types by name, in the order of the file."""
    found, at = {}, 0
    while data[at]:
        name = data[at:].partition(b"\0")[0]
        at += len(name) + 1
        kind, _, across, down = struct.unpack_from("<iIii", data, at)
        if (across, down) != (1, 1):
            raise ValueError(f"channel {name.decode()} has every {across}-th pixel only")
        found[name.decode()] = TYPES[kind]
        at += 16
    return found


def _unpredicted(data: bytes) -> bytes:
    """Bytes from their differences, the two halves of which are the even and the odd ones."""
    steps = np.frombuffer(data, np.uint8).astype(np.int64)
    steps[1:] -= 128
    values = np.cumsum(steps).astype(np.uint8)
    half = (len(values) + 1) // 2
    mixed = np.empty_like(values)
    mixed[::2], mixed[1::2] = values[:half], values[half:]
    return mixed.tobytes()
