# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Opening a model folder, in a published layout (official_layout.py, gen3r_layout.py) or in ours.

Ours: config.json with the family's name, the whole configuration and what is known of the files; safetensors files, one
or several a component, whose keys are those of the networks' state dict.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from gld_ros.errors import ModelError
from gld_ros.plain import from_dict
from gld_ros.weights import official_layout
from gld_ros.weights.folder import NETWORKS, STATISTICS, Component, KeyNames, ModelFolder, component_names, on_meta
from gld_ros.weights.gen3r_layout import is_gen3r, open_gen3r
from gld_ros.weights.released_files import CONFIG
from gld_ros.weights.tensor_files import read_tensors

WEIGHTS = "model.safetensors"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
#: Names of level 0's network and its settings in older files, and today's.
OLD_NAMES = {
    "cascade": "level0",
    "cascade_steps": "level0_steps",
    "cascade_guidance": "level0_guidance",
    "cascade_channels": "level1_channels",
}


def open_folder(path: Path) -> ModelFolder:
    """The content of a model folder; only the files' directories are read. Raises ModelError if it is none."""
    if not path.is_dir():
        raise ModelError(f"{path}: no such folder")
    if is_gen3r(path):
        return open_gen3r(path)
    description = read_description(path)
    if files := recorded(description):
        return _open_own(path, description, [*files])
    changes = description.get("model", {})
    kinds = [kind for kind in official_layout.kinds_in(path) if changes.get("name", f"gld-{kind}") == f"gld-{kind}"]
    if len(kinds) == 1:
        return official_layout.open_official(path, kinds[0], changes)
    if kinds:
        raise ModelError(
            f"{path}: holds both released models; say which one in {CONFIG}: "
            '{"model": {"name": "gld-da3"}} or {"model": {"name": "gld-vggt"}}'
        )
    if (path / CONFIG).is_file():
        return _open_own(path, description, [WEIGHTS])
    raise ModelError(
        f"{path}: no model: neither a {CONFIG} of a converted model nor the official files, such as "
        "checkpoints/da3_level1.pt or checkpoints/vggt_level1.pt"
    )


def read_description(path: Path) -> dict:
    """config.json of a folder; {} without one."""
    try:
        description = json.loads((path / CONFIG).read_text())
        if not isinstance(description, dict) or not isinstance(description.get("model", {}), dict):
            raise ValueError('expected {"model": {...}}')
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ModelError(f"{path / CONFIG}: not a model description ({error})") from error
    return {**description, "model": renamed(description["model"])} if "model" in description else description


def renamed(values: Any) -> Any:
    """A model's description with today's names for `OLD_NAMES`, and without an option that older files leave off."""
    if not isinstance(values, Mapping):
        return values
    kept = {key: value for key, value in values.items() if (key, value) != ("pictures", False)}
    return {OLD_NAMES.get(key, key): renamed(value) for key, value in kept.items()}


def recorded(description: Mapping) -> dict[str, dict]:
    """{file: {"sha256": ..., "size": ...}} that a config.json of ours records; those of `save_model` without sizes."""
    return description.get("files") or {
        file: {"sha256": digest} for file, digest in (description.get("sha256") or {}).items()
    }


def _open_own(path: Path, description: dict, files: list[str]) -> ModelFolder:
    try:
        kind, _ = NETWORKS[description.get("family", "gld")]
        config = from_dict(kind, description["model"])
        dtype = DTYPES[description.get("dtype", "float32")]
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path / CONFIG}: not a model description ({error})") from error
    folder = ModelFolder(path, config, [], files, dtype=dtype)
    components: dict[str, Component] = {}
    for file in files:
        for key, tensor in folder.read(read_tensors, file).items():
            name = key.split(".")[0] if "." in key else STATISTICS
            keys = KeyNames("" if name == STATISTICS else f"{name}.")
            name = OLD_NAMES.get(name, name)
            component = components.setdefault(name, Component(name, file, {}, keys))
            if key in component.tensors:
                folder.problems.append(f"{name} ({file}): {key} a second time")
            component.tensors[key] = tensor
            if file not in component.file.split(", "):
                component.file += f", {file}"
    known = component_names(on_meta(config))
    for name in components.keys() - known:
        folder.problems.append(f"unexpected {', '.join(list(components[name].tensors)[:4])} ({components[name].file})")
    folder.components = [component for name, component in components.items() if name in known]
    return folder
