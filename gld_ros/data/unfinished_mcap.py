# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Whole messages of an mcap whose recorder was killed: no summary, no index, the last record cut (mcap.dev/spec)."""

from __future__ import annotations

import logging
import os
import struct
from collections.abc import Collection, Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from lz4.frame import LZ4FrameDecompressor
from rosbags.interfaces import Connection, ConnectionExtRosbag2, MessageDefinition, MessageDefinitionFormat

from gld_ros.errors import InvalidRequest

try:
    from compression import zstd
except ImportError:  # Python before 3.14
    from backports import zstd

log = logging.getLogger(__name__)

MAGIC = b"\x89MCAP0\r\n"
SCHEMA, CHANNEL, MESSAGE, CHUNK = 3, 4, 5, 6
_RECORD, _MESSAGE, _CHUNK = struct.Struct("<BQ"), struct.Struct("<HIQQ"), struct.Struct("<QQQI")


class _Entry(NamedTuple):
    """One message: when it arrived, on which channel, and where it is in which chunk (a number)."""

    log_time: int
    channel: int
    chunk: int
    start: int
    end: int


class _Chunk(NamedTuple):
    """A run of compressed records in the file. Without compression it may be a single message."""

    start: int
    size: int
    compression: str


class _Index(NamedTuple):
    connections: list[Connection]
    chunks: list[_Chunk]
    entries: list[_Entry]  # in time order


def is_finished(path: Path) -> bool:
    """True if the file ends as a recorder ends it."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - len(MAGIC), 0))
        return file.read() == MAGIC and size > len(MAGIC)


class UnfinishedMcap:
    """A reader as those of rosbags. Raises InvalidRequest where the file is empty or no mcap."""

    def __init__(self, path: Path) -> None:
        self._path = path
        status = path.stat()
        self._index = _scan(path, status.st_size, status.st_mtime_ns)
        self.connections = self._index.connections

    def messages(
        self, connections: Collection[Connection], start: int | None = None, stop: int | None = None
    ) -> Iterator[tuple[Connection, int, bytes]]:
        """Connection, time of arrival (ns) and bytes of each message, in time order."""
        wanted = {connection.id: connection for connection in connections}
        latest, raw = -1, b""
        with self._path.open("rb") as file:
            for entry in self._index.entries:
                inside = (start is None or start <= entry.log_time) and (stop is None or entry.log_time < stop)
                if not inside or entry.channel not in wanted:
                    continue
                if entry.chunk != latest:
                    chunk = self._index.chunks[entry.chunk]
                    file.seek(chunk.start)
                    latest, raw = entry.chunk, _decompressed(file.read(chunk.size), chunk.compression)
                yield wanted[entry.channel], entry.log_time, raw[entry.start : entry.end]


@lru_cache(maxsize=8)
def _scan(path: Path, size: int, changed: int) -> _Index:
    """Everything that is whole in a file; once for each state of it."""
    schemas: dict[int, str] = {}
    connections: dict[int, Connection] = {}
    chunks: list[_Chunk] = []
    entries: list[_Entry] = []

    def take(operation: int, body: bytes, start: int) -> None:
        """A record at `start` of the newest chunk."""
        if operation == SCHEMA:
            schemas[struct.unpack_from("<H", body)[0]] = _text(body, 2)[0]
        elif operation == CHANNEL:
            number, schema = struct.unpack_from("<HH", body)
            topic, after = _text(body, 4)
            encoding, _ = _text(body, after)
            connections[number] = Connection(
                number,
                topic,
                schemas.get(schema, ""),
                MessageDefinition(MessageDefinitionFormat.NONE, ""),
                "",
                0,
                ConnectionExtRosbag2(encoding, []),
                None,
            )
        elif operation == MESSAGE:
            channel, _, log_time, _ = _MESSAGE.unpack_from(body)
            entries.append(_Entry(log_time, channel, len(chunks) - 1, start + _MESSAGE.size, start + len(body)))

    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise InvalidRequest(f"{path}: {'empty' if not size else 'no mcap: it does not begin as one'}")
        while len(header := file.read(_RECORD.size)) == _RECORD.size:
            operation, length = _RECORD.unpack(header)
            start = file.tell()
            if operation == 0:  # zeros: blocks that were never written
                break
            if operation == CHUNK:
                body = file.read(min(length, size - start))
                if len(body) < _CHUNK.size + 4:
                    break
                compression, after = _text(body, _CHUNK.size)
                after += 8
                chunks.append(_Chunk(start + after, len(body) - after, compression))
                raw = _decompressed(body[after:], compression)
                for inner, begin, end in _records(raw):
                    take(inner, raw[begin:end], begin)
            elif start + length <= size and operation in (SCHEMA, CHANNEL, MESSAGE):
                if operation == MESSAGE:
                    chunks.append(_Chunk(start, length, ""))
                take(operation, file.read(length), 0)
            if start + length >= size:
                break
            file.seek(start + length)
    log.warning(
        "%s: the recording was not finished; %d whole messages are read, without an index (`mcap recover` writes a "
        "whole file)",
        path,
        len(entries),
    )
    return _Index(list(connections.values()), chunks, sorted(entries))


def _records(raw: bytes) -> Iterator[tuple[int, int, int]]:
    """Operation, start and end of each whole record."""
    position = 0
    while position + _RECORD.size <= len(raw):
        operation, length = _RECORD.unpack_from(raw, position)
        begin, position = position + _RECORD.size, position + _RECORD.size + length
        if operation and position <= len(raw):
            yield operation, begin, position


def _decompressed(data: bytes, compression: str) -> bytes:
    """As much as there is of a chunk that may be cut."""
    if compression == "zstd":
        return zstd.ZstdDecompressor().decompress(data)
    if compression == "lz4":
        return LZ4FrameDecompressor().decompress(data)
    if compression:
        raise InvalidRequest(f"compression {compression!r} of mcap is unknown, zstd or lz4 is expected")
    return data


def _text(body: bytes, start: int) -> tuple[str, int]:
    """A string with its length before it, and where it ends."""
    end = start + 4 + struct.unpack_from("<I", body, start)[0]
    return body[start + 4 : end].decode(errors="replace"), end
