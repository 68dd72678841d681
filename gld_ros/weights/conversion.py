# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`gld models convert`: a folder in our layout, one or several safetensors files a component, from any other."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError

from gld_ros.errors import ModelError
from gld_ros.files import sha256, write_text
from gld_ros.networks.gld import GLDNetworks, stored_dtype
from gld_ros.plain import to_dict
from gld_ros.weights.folder import STATISTICS, Component, on_meta
from gld_ros.weights.layout import CONFIG, DTYPES
from gld_ros.weights.tensor_files import write_tensors
from gld_ros.weights.verification import opened

#: Record of an unfinished conversion.
UNFINISHED = "convert.json"

#: (name of a state-dict entry, its published key, the dtype it is written in)
Entry = tuple[str, str, torch.dtype]


def convert(
    source: Path,
    out: Path,
    dtype: torch.dtype = torch.bfloat16,
    shard_size: int = 1_000_000_000,
    on_file: Callable[[str, int], None] = lambda file, size: None,
) -> None:
    """Write the networks of `source` to `out` with at most `shard_size` bytes of weights a file, and config.json last.

    Every file appears whole or not at all; run again after an interruption, files that are whole are kept. What is
    kept exact (`stored_dtype`) stays float32. `on_file` is called with each file and its bytes when it is there.
    Raises ModelError as `load_model` does, and where there is no space or `out` holds a model already.
    """
    if (out / CONFIG).exists():
        raise ModelError(f"{out}: holds a model already; delete it or name another folder")
    folder = opened(source)
    net = on_meta(folder.config)
    plan = {
        file: (component, part)
        for component in folder.components
        for file, part in _shards(net, component, dtype, shard_size)
    }
    stats = {file: (source / file).stat() for file in folder.files}
    task = {
        "source": str(source.resolve()),
        "dtype": next(name for name, kind in DTYPES.items() if kind == dtype),
        "shard size": shard_size,
        # They show that the files are the ones an earlier run read.
        "files of the source": {file: [stat.st_size, stat.st_mtime_ns] for file, stat in stats.items()},
    }
    done = _resumed(out, task)
    needed = sum(_bytes(component, part) for file, (component, part) in plan.items() if file not in done)
    try:
        out.mkdir(parents=True, exist_ok=True)
        if (free := shutil.disk_usage(out).free) < needed:
            raise ModelError(f"{out}: {needed / 1e9:.1f} GB are to be written, {free / 1e9:.1f} GB are free")
        for file, (component, part) in plan.items():
            path, size = out / file, _bytes(component, part)
            if file not in done or not path.is_file() or sha256(path) != done[file]["sha256"]:
                write_tensors(path, {ours: component.tensors[key].to(kind, copy=True) for ours, key, kind in part})
                done[file] = {"size": path.stat().st_size, "sha256": sha256(path)}
                write_text(out / UNFINISHED, json.dumps({**task, "files": done}))
            on_file(file, size)
        files = {file: done[file] for file in plan}
        description = {"model": to_dict(folder.config)} | {k: task[k] for k in ("dtype", "source")} | {"files": files}
        write_text(out / CONFIG, json.dumps(description, indent=1) + "\n")
        (out / UNFINISHED).unlink(missing_ok=True)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{out}: cannot be written ({error}); what is whole is kept, run the command again") from error


def _shards(
    net: GLDNetworks, component: Component, dtype: torch.dtype, limit: int
) -> Iterator[tuple[str, list[Entry]]]:
    """The files of a component and what goes into each, in the order of its state dict."""
    prefix = "" if component.name == STATISTICS else f"{component.name}."
    shards: list[list[Entry]] = [[]]
    size = 0
    for name in component.state(net):
        key = component.keys.key(name)
        kind = stored_dtype(name, component.tensors[key], dtype)
        bytes_ = component.tensors[key].numel() * kind.itemsize
        if shards[-1] and size + bytes_ > limit:
            shards.append([])
            size = 0
        shards[-1].append((prefix + name, key, kind))
        size += bytes_
    for i, part in enumerate(shards, start=1):
        number = f"-{i:05}-of-{len(shards):05}" if len(shards) > 1 else ""
        yield f"{component.name}{number}.safetensors", part


def _resumed(out: Path, task: dict) -> dict[str, dict]:
    """Files that an interrupted conversion of the same source finished; ModelError if it was another one."""
    try:
        record = json.loads((out / UNFINISHED).read_text())
        done = record.pop("files")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{out / UNFINISHED}: not readable ({error}); delete {out}") from error
    if record != task:
        raise ModelError(
            f"{out}: holds an unfinished conversion of {record.get('source')} to {record.get('dtype')}, or of "
            "files that have changed since; delete it or name another folder"
        )
    return done


def _bytes(component: Component, part: list[Entry]) -> int:
    return sum(component.tensors[key].numel() * kind.itemsize for _, key, kind in part)
