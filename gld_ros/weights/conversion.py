# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`gld models convert`: a folder in our layout, one or several safetensors files a component, from any other."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from huggingface_hub import split_state_dict_into_shards_factory
from safetensors import SafetensorError
from torch import Tensor, nn

from gld_ros.errors import ModelError
from gld_ros.files import sha256, write_text
from gld_ros.networks.gld import stored_dtype
from gld_ros.plain import to_dict
from gld_ros.weights.folder import NETWORKS, STATISTICS, Component, on_meta
from gld_ros.weights.layout import CONFIG, DTYPES
from gld_ros.weights.tensor_files import write_tensors
from gld_ros.weights.text_states import copy_prompts
from gld_ros.weights.verification import opened

#: Record of an unfinished conversion.
UNFINISHED = "convert.json"


class Entry(NamedTuple):
    """A state-dict entry: the source's tensor, and the dtype it is written in."""

    name: str
    tensor: Tensor
    dtype: torch.dtype

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return self.tensor.numel() * self.dtype.itemsize


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
        file: part
        for component in folder.components
        for file, part in _shards(net, component, dtype, shard_size).items()
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
    needed = sum(entry.size for file, part in plan.items() if file not in done for entry in part)
    try:
        out.mkdir(parents=True, exist_ok=True)
        if (free := shutil.disk_usage(out).free) < needed:
            raise ModelError(f"{out}: {needed / 1e9:.1f} GB are to be written, {free / 1e9:.1f} GB are free")
        for file, part in plan.items():
            path = out / file
            if file not in done or not path.is_file() or sha256(path) != done[file]["sha256"]:
                write_tensors(path, {name: tensor.to(kind, copy=True) for name, tensor, kind in part})
                done[file] = {"size": path.stat().st_size, "sha256": sha256(path)}
                write_text(out / UNFINISHED, json.dumps({**task, "files": done}))
            on_file(file, sum(entry.size for entry in part))
        files = {file: done[file] for file in plan}
        family = next(name for name, (kind, _) in NETWORKS.items() if isinstance(folder.config, kind))
        description = (
            {"family": family, "model": to_dict(folder.config)}
            | {k: task[k] for k in ("dtype", "source")}
            | {"files": files}
        )
        copy_prompts(source, out)
        write_text(out / CONFIG, json.dumps(description, indent=1) + "\n")
        (out / UNFINISHED).unlink(missing_ok=True)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{out}: cannot be written ({error}); what is whole is kept, run the command again") from error


def _shards(net: nn.Module, component: Component, dtype: torch.dtype, limit: int) -> dict[str, list[Entry]]:
    """The files of a component and what goes into each."""
    prefix = "" if component.name == STATISTICS else f"{component.name}."
    tensors = {name: component.tensors[component.keys.key(name)] for name in component.state(net)}
    entries = {name: Entry(prefix + name, x, stored_dtype(name, x, dtype)) for name, x in tensors.items()}
    pattern = component.name + "{suffix}.safetensors"
    split = split_state_dict_into_shards_factory(
        entries, get_storage_size=lambda entry: entry.size, filename_pattern=pattern, max_shard_size=limit
    )
    return {file: [entries[name] for name in names] for file, names in split.filename_to_tensors.items()}


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
