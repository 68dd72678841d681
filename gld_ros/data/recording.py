# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Files of a recording, opened without ROS: rosbag2 (whole, without metadata.yaml, unfinished) and ROS 1 bags.

Messages are read by the built-in definitions of their types, so that it does not matter which ones a bag holds.
"""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from heapq import merge
from operator import itemgetter
from pathlib import Path, PurePath
from typing import Any, NamedTuple

from rosbags.interfaces import Connection
from rosbags.rosbag1 import Reader as Ros1Reader
from rosbags.rosbag2 import Reader as Ros2Reader
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from gld_ros.data.unfinished_mcap import UnfinishedMcap, is_finished
from gld_ros.errors import InvalidRequest

log = logging.getLogger(__name__)

STORAGE_SUFFIXES = (".mcap", ".db3")
ROS1_SUFFIX = ".bag"
RENAMED = {"tf/msg/tfMessage": "tf2_msgs/msg/TFMessage"}  # of ROS 1: the same fields under an older name
REPAIR = "`mcap recover` (mcap) or `ros2 bag reindex` (sqlite3) may repair it"
REPAIR_ROS1 = "`rosbag reindex` may repair it, `rosbags-convert` makes a rosbag2 of it"


class Message(NamedTuple):
    """One message as its topic, type, time of its arrival (ns) and bytes."""

    topic: str
    type_name: str
    log_time: int
    data: bytes


def is_recording(path: Path) -> bool:
    """True for a file or a folder that `Recording` opens; looks at names only."""
    if path.is_dir():
        return (path / "metadata.yaml").exists() or bool(_files_below(path))
    return path.suffix in (*STORAGE_SUFFIXES, ROS1_SUFFIX)


class Recording:
    """A bag: a folder, with metadata.yaml or without it, or one of its files.

    Whatever is wrong with it becomes an InvalidRequest that names it. What can be read in spite of it is a warning.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._errors():
            self._information, self._files = _contents(path)
        self._ros1 = self._files[0].suffix == ROS1_SUFFIX
        self._types = _types(self._ros1)
        self._own = threading.local()

    @property
    def kind(self) -> str:
        """ "rosbag2" or "ROS 1 bag", for messages."""
        return "ROS 1 bag" if self._ros1 else "rosbag2"

    @property
    def notes(self) -> dict[str, str]:
        """`custom_data` of metadata.yaml."""
        return (self._information or {}).get("custom_data") or {}

    @contextmanager
    def reading(self) -> Iterator[OpenRecording]:
        """The open recording. From any thread, at any time: each thread of each process has readers of its own, which
        stay open, as opening them takes longer than reading an image."""
        with self._errors():
            if getattr(self._own, "process", None) != os.getpid():
                readers = [self._opened(file) for file in self._files]
                self._own.process, self._own.open = os.getpid(), OpenRecording(readers, self._errors)
        yield self._own.open

    def _opened(self, file: Path) -> Any:
        if file.suffix == ".mcap" and not is_finished(file):
            return UnfinishedMcap(file)
        reader = Ros1Reader(file) if self._ros1 else Ros2Reader(file)
        reader.open()
        return reader

    def deserialize(self, message: Message) -> Any:
        """The message as an object with the fields of its type. Raises InvalidRequest for broken bytes."""
        read = self._types.deserialize_ros1 if self._ros1 else self._types.deserialize_cdr
        try:
            return read(message.data, RENAMED.get(message.type_name, message.type_name))
        except Exception as error:  # errors of rosbags' generated readers have no common base
            where = f"{self.path}: {message.topic} ({message.type_name}) at {message.log_time / 1e9:.6f} s"
            raise InvalidRequest(f"{where}: the message cannot be read ({_reason(error)})") from None

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except InvalidRequest:
            raise
        except Exception as error:  # rosbags, sqlite, zstd, struct and yaml errors have no common base
            if self.path.suffix == ROS1_SUFFIX:
                reason = f"not a readable ROS 1 bag ({_reason(error)}); is it truncated? {REPAIR_ROS1}"
            else:
                reason = f"not a readable rosbag2 ({_reason(error)}); is it truncated? {REPAIR}"
            raise InvalidRequest(f"{self.path}: {reason}") from None


class OpenRecording:
    """Topics and messages of all files of a recording. errors: what turns those of the readers into ours."""

    def __init__(self, readers: list[Any], errors: Callable[[], AbstractContextManager]) -> None:
        self._readers, self._errors = readers, errors

    @property
    def topics(self) -> dict[str, str]:
        """Topic: its type."""
        return dict(sorted({c.topic: c.msgtype for reader in self._readers for c in reader.connections}.items()))

    def messages(self, wanted: Collection[str], start: int | None = None, stop: int | None = None) -> Iterator[Message]:
        """Those on the topics `wanted`, in the order in which they arrived, from `start` to before `stop` (ns)."""
        found = self._merged(wanted, start, stop)
        while True:
            with self._errors():  # around the reading alone: what the caller does with a message is not the file's
                message = next(found, None)
            if message is None:
                return
            yield message

    def _merged(self, wanted: Collection[str], start: int | None, stop: int | None) -> Iterator[Message]:
        parts = []
        for reader in self._readers:
            connections = [c for c in reader.connections if c.topic in wanted]
            if connections:
                parts.append(reader.messages(connections, start, stop))
        connection: Connection
        for connection, log_time, data in merge(*parts, key=itemgetter(1)):
            yield Message(connection.topic, connection.msgtype, log_time, data)


@lru_cache(maxsize=2)
def _types(ros1: bool) -> Typestore:
    if not ros1:
        return get_typestore(Stores.ROS2_JAZZY)
    types = get_typestore(Stores.ROS1_NOETIC)
    types.register(get_types_from_msg("geometry_msgs/TransformStamped[] transforms", "tf2_msgs/msg/TFMessage"))
    return types


def _contents(path: Path) -> tuple[dict[str, Any] | None, list[Path]]:
    """The content of metadata.yaml (None without a readable one), and the files or the compressed folder to open."""
    if path.is_file():
        return _information(path.parent, [path.name]), [path]
    files, information = _files_below(path), _information(path)
    if information is None:
        if (path / "metadata.yaml").exists():
            log.warning("%s: metadata.yaml is empty or broken; the files in the folder are read without it", path)
        ros1 = [file for file in files if file.suffix == ROS1_SUFFIX]
        if len(ros1) > 1:
            raise InvalidRequest(f"{path}: holds {len(ros1)} ROS 1 bags, one is expected; name the file")
        if not files:
            raise InvalidRequest(f"{path}: no readable metadata.yaml, *.mcap, *.db3 or *.bag is in it")
        return None, ros1 or files
    if (information.get("compression_mode") or "none").lower() != "none":
        return information, [path]
    listed = [path / PurePath(name).name for name in information["relative_file_paths"]]
    there = [file for file in listed if file.exists()]
    if listed and not there:
        raise InvalidRequest(f"{path}: metadata.yaml names {listed[0].name}, which is not in the folder")
    for file in set(listed) - set(there):
        log.warning("%s: metadata.yaml names %s, which is not there; the other files are read", path, file.name)
    return information, there or [path]


def _information(folder: Path, only: list[str] | None = None) -> dict[str, Any] | None:
    """Content of metadata.yaml, if it is there, readable and (where `only` is given) about these files."""
    file = folder / "metadata.yaml"
    if not file.exists():
        return None
    try:
        information = YAML(typ="safe").load(file.read_text())["rosbag2_bagfile_information"]
        names = [PurePath(name).name for name in information["relative_file_paths"]]
    except (OSError, UnicodeDecodeError, YAMLError, KeyError, TypeError):
        return None
    return information if only is None or set(only) <= set(names) else None


def _files_below(folder: Path) -> list[Path]:
    """Storage files of a folder, NAME_2 before NAME_10."""
    files = [file for file in folder.iterdir() if file.suffix in (*STORAGE_SUFFIXES, ROS1_SUFFIX) and file.is_file()]
    return sorted(files, key=lambda file: [int(part) if part.isdigit() else part for part in _parts(file.name)])


def _parts(name: str) -> list[str]:
    return re.split(r"(\d+)", name)


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
