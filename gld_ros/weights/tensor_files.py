# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Files of tensors: read memory-mapped and without running code, checked, written whole or not at all."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.serialization import get_unsafe_globals_in_checkpoint

from gld_ros.errors import ModelError, OutOfMemory
from gld_ros.files import replacing

#: Top-level entries that hold the weights of a training checkpoint; the first that is there is read.
WRAPPERS = ("ema", "model")
#: torch's DistributedDataParallel puts this before every key; the official loader drops it.
PARALLEL = "module."
#: First bytes of files that torch.save wrote before version 1.6. They are no archives, and some weights are still
#: published like this (torchvision's VGG-16, LPIPS).
OLD_FORMAT = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file or a torch.save archive, as views of the memory-mapped file.

    Nothing is in memory before a tensor is used, and what was used is dropped with the last view. Of an archive: those
    under the top-level entry `ema`, else `model`, else all. A prefix `module.` that all keys have is left out. Raises
    ModelError that names the file: missing, truncated, of another kind, or with pickled objects in it, which could run
    code; OutOfMemory for one that cannot be mapped.
    """
    if not path.is_file():
        raise ModelError(f"{path}: missing")
    tensors = _read_safetensors(path) if path.suffix == ".safetensors" else _unwrap(path, read_archive(path))
    if all(key.startswith(PARALLEL) for key in tensors):
        return {key.removeprefix(PARALLEL): tensor for key, tensor in tensors.items()}
    return tensors


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}
    except (SafetensorError, OSError, RuntimeError, MemoryError) as error:
        _refuse_unmapped(path, error)
        size = path.stat().st_size
        raise ModelError(f"{path}: not a readable safetensors file ({size:,} bytes; {error})") from error


def read_archive(path: Path) -> dict:
    """The content of a torch.save archive: tensors (memory-mapped), numbers, strings and containers of these.

    Files of torch before 1.6 are read, too, into memory.
    """
    if not path.is_file():
        raise ModelError(f"{path}: missing")
    old = _is_old(path)
    if not old and not zipfile.is_zipfile(path):  # its directory is at the end: a truncated archive is none
        raise ModelError(f"{path}: {damage(path)}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=not old)
    except Exception as error:  # whatever a broken pickle leads to
        _refuse_unmapped(path, error)
        if not old and (broken := damage(path)):
            reason = broken
        elif isinstance(error, pickle.UnpicklingError):
            reason = (
                f"refused, it holds pickled objects, which could run code ({_objects(path)}); expected tensors alone"
            )
        else:
            detail = str(error).partition("\n")[0]  # may be empty
            reason = f"not a readable torch.save archive ({type(error).__name__}: {detail})"
        raise ModelError(f"{path}: {reason}") from error
    if not isinstance(content, Mapping):
        raise ModelError(f"{path}: holds a {type(content).__name__}, expected a dict of tensors")
    return dict(content)


def _refuse_unmapped(path: Path, error: Exception) -> None:
    """Raise OutOfMemory if `error` says that a file is larger than the address space that is left."""
    if "mmap" in str(error) or "Cannot allocate memory" in str(error):
        size = path.stat().st_size
        raise OutOfMemory(f"{path}: {size / 1e9:.2f} GB, more than this machine can map now ({error})") from error


def _is_old(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(OLD_FORMAT)) == OLD_FORMAT


def _unwrap(path: Path, content: dict) -> dict[str, Tensor]:
    wrapped = next((content[name] for name in WRAPPERS if isinstance(content.get(name), Mapping)), content)
    others = [str(key) for key, value in wrapped.items() if not isinstance(value, Tensor)]
    if others or not wrapped:
        raise ModelError(f"{path}: expected tensors, found {', '.join(others[:4]) or 'none'}")
    return {str(key): value for key, value in wrapped.items()}


def _objects(path: Path) -> str:
    """Names of the objects that an archive wants to be built."""
    try:
        return ", ".join(sorted(get_unsafe_globals_in_checkpoint(path))[:4]) or "unknown"
    except Exception:  # the pickle may be broken in any way
        return "unknown"


def damage(path: Path) -> str | None:
    """The problem of a file that should be a torch.save archive; None if it and every member are whole."""
    try:
        with zipfile.ZipFile(path) as archive:
            member = archive.testzip()
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError):
        size = path.stat().st_size
        return f"not a whole torch.save archive ({size:,} bytes): truncated, half-downloaded or another kind of file"
    return f"corrupted, its {member} contradicts its checksum" if member else None


def same_archives(first: Path, second: Path) -> bool:
    """Tell whether two torch.save archives hold the same tensors in the same order; only their checksums are read."""
    members = []
    for path in (first, second):
        try:
            with zipfile.ZipFile(path) as archive:
                members.append([(m.file_size, m.CRC) for m in archive.infolist() if "/data/" in m.filename])
        except (zipfile.BadZipFile, OSError):
            return False
    return members[0] == members[1]


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """A safetensors file that appears whole or not at all."""
    with replacing(path) as temporary:
        save_file(dict(tensors), temporary)
        temporary.chmod(0o644)  # safetensors writes for its owner alone
