# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The published layout of Gen3R: a folder of diffusers, one folder a component (spec gen3r.md).

The sizes of the networks are those of the released model, then what `"gld_ros"` in model_index.json says (a part of a
Gen3RConfig, for other sizes than the released ones), then what the components' own files say.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from gld_ros.errors import ModelError
from gld_ros.extras import require
from gld_ros.networks.gen3r.configs import Gen3RConfig
from gld_ros.plain import from_dict, to_dict
from gld_ros.weights import gen3r_keys
from gld_ros.weights.folder import Component, KeyNames, ModelFolder, changed
from gld_ros.weights.official_layout import vggt_block
from gld_ros.weights.tensor_files import read_tensors

INDEX, PIPELINE = "model_index.json", "Gen3RPipeline"
#: Folder of each component; VGGT's makes two.
FOLDERS = {
    "transformer": "transformer",
    "adapter": "geo_adapter",
    "vae": "wan_vae",
    "text": "text_encoder",
    "image": "clip_image_encoder",
}
VGGT = "vggt"
#: Folder of the states of prompts (text_states.py).
STATES = "text_states"
#: Prefix that the keys of a component have in its file, and what makes the networks' keys of the rest.
PREFIXES = {"adapter": "model.", "vae": "model.", "image": "model.visual."}
MAPS: dict[str, Callable[[dict[str, Tensor]], dict[str, Tensor]]] = {
    "vae": gen3r_keys.video_vae,
    "text": gen3r_keys.text_encoder,
    "image": gen3r_keys.image_tower,
}
#: Keys that nothing here uses: CLIP's text tower, VGGT's token of masked patches and its tracks.
UNREAD = {"image": ("model.textual.", "model.log_scale"), VGGT: ("aggregator.patch_embed.mask_token", "track_head.")}
HEADS = ("camera_head.", "point_head.", "depth_head.")
WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")

#: Fields of a component's own config: its name there and in our config of it.
FIELDS = {
    "transformer": {
        "dim": "width", "num_layers": "layers", "num_heads": "heads", "ffn_dim": "hidden", "text_dim": "text_width",
        "text_len": "text_rows", "out_dim": "latent", "in_dim_control_adapter": "rays",
    },
    "adapter": {
        "input_dim": "tokens", "resample_scale": "reduction", "hidden_dim": "width", "latent_channels": "latent",
    },
    "text": {
        "vocab": "tokens", "dim": "width", "num_heads": "heads", "dim_ffn": "hidden", "num_layers": "layers",
        "num_buckets": "buckets",
    },
}  # fmt: skip
#: Fields that have one value only in what is implemented here.
FIXED: dict[str, dict[str, Any]] = {
    "transformer": {
        "model_type": "i2v", "patch_size": [1, 2, 2], "freq_dim": 256, "qk_norm": True, "cross_attn_norm": True,
        "eps": 1e-6, "add_control_adapter": True, "add_ref_conv": False,
    },
    "adapter": {"temporal_compression_ratio": 4, "spatial_compression_ratio": 8},
    "vae": {"latent_channels": 16, "temporal_compression_ratio": 4, "spacial_compression_ratio": 8},
    "text": {"shared_pos": False},
}  # fmt: skip
#: Fields that say nothing of the networks: those of diffusers, copies of others, what is left of the base model.
IDLE = {"hidden_size", "in_channels", "dim_attn", "dropout_p", "output_dim"}


def is_gen3r(path: Path) -> bool:
    """True for a folder of diffusers, which may be another pipeline's; looks at names only."""
    return (path / INDEX).is_file()


def open_gen3r(path: Path) -> ModelFolder:
    """The content of a folder in the published layout; only the files' directories are read.

    Raises ModelError for another pipeline and for a transformer that is no Gen3R's; other faults are its `problems`.
    """
    require("gen3r", "a Gen3R", ModelError)
    index = _json(path / INDEX)
    if (kind := index.get("_class_name")) != PIPELINE:
        raise ModelError(f"{path / INDEX}: a folder of {kind}, expected {PIPELINE}")
    folder = ModelFolder(path, Gen3RConfig(), [], [], optional=("text",))
    try:
        config = from_dict(Gen3RConfig, changed(to_dict(folder.config), index.get("gld_ros", {})))
    except (ValueError, TypeError) as error:
        raise ModelError(f"{path / INDEX}: gld_ros: {error}") from error
    for name in ("transformer", "adapter", "vae", "text"):
        config = _with_fields(folder, config, name)
    config = replace(config, transformer=replace(config.transformer, image_width=config.image.width))
    folder.config = _with_grid(folder, config)
    for name, place in FOLDERS.items():
        tensors, file = _read(folder, name, place)
        if tensors:
            folder.components.append(Component(name, file, _named(folder, name, file, tensors)))
    folder.components += _vggt(folder)
    _check_files(folder)
    return folder


def _with_fields(folder: ModelFolder, config: Gen3RConfig, name: str) -> Gen3RConfig:
    """The configuration with what a component's config.json says."""
    file = f"{FOLDERS[name]}/config.json"
    if not (folder.path / file).is_file():
        if (folder.path / FOLDERS[name]).is_dir():
            folder.problems.append(f"{folder.path / file}: missing")
        return config
    given = {key: value for key, value in _json(folder.path / file).items() if not key.startswith("_")}
    if name == "transformer" and (inputs := given.pop("in_dim", None)) is not None:
        wanted = config.transformer.latent + config.transformer.condition
        if inputs != wanted:
            raise ModelError(
                f"{folder.path / file}: in_dim is {inputs}, expected {wanted}: the mask's channels are missing; is "
                "this the base model (Wan2.1-Fun Control-Camera), not converted?"
            )
    fields, fixed = FIELDS.get(name, {}), FIXED.get(name, {})
    for key, value in fixed.items():
        if given.get(key, value) != value:
            folder.problems.append(f"{folder.path / file}: {key} is {given[key]}, expected {value}")
    if unknown := sorted(given.keys() - fields.keys() - fixed.keys() - IDLE):
        folder.notices.append(f"{file}: nothing here knows {', '.join(unknown)}")
    if not fields:
        return config
    values = {ours: given[key] for key, ours in fields.items() if key in given}
    wrong = [f"{key} is {given[key]!r}" for key in fields if not isinstance(given.get(key, 1), int)]
    if wrong:
        raise ModelError(f"{folder.path / file}: {', '.join(wrong)}, expected whole numbers")
    return replace(config, **{name: replace(getattr(config, name), **values)})


def _with_grid(folder: ModelFolder, config: Gen3RConfig) -> Gen3RConfig:
    """The configuration with the time grid's shift."""
    file = folder.path / "scheduler/scheduler_config.json"
    if not file.is_file():
        folder.problems.append(f"{file}: missing")
        return config
    scheduler = _json(file)
    if scheduler.get("use_dynamic_shifting") or scheduler.get("num_train_timesteps", 1000) != 1000:
        folder.problems.append(f"{file}: expected a fixed shift and 1000 training steps")
    return replace(config, shift=float(scheduler.get("shift", config.shift)))


def _read(folder: ModelFolder, name: str, place: str) -> tuple[dict[str, Tensor], str]:
    """(the tensors of all safetensors files of a component without their prefix, the files' names).

    What has another prefix keeps it, and will be unexpected.
    """
    found = sorted((folder.path / place).glob("*.safetensors"))
    if not found:
        if name == "text":
            folder.notices.append(f"{place}/ is not there: only prompts whose states are kept can be used")
        else:
            folder.problems.append(f"{folder.path / place}: no *.safetensors file")
    prefix, unread, tensors = PREFIXES.get(name, ""), UNREAD.get(name, ()), {}
    for path in found:
        folder.files.append(file := f"{place}/{path.name}")
        for key, tensor in folder.read(read_tensors, file).items():
            if key.startswith(unread):
                continue
            if (short := key.removeprefix(prefix)) in tensors:
                folder.problems.append(f"{name} ({file}): {key} a second time")
            tensors[short] = tensor
    return tensors, ", ".join(f"{place}/{path.name}" for path in found)


def _named(folder: ModelFolder, name: str, file: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """A component's tensors by the names of the networks here."""
    try:
        return MAPS.get(name, dict)(tensors)
    except (KeyError, ValueError, RuntimeError, IndexError) as error:  # the library's renaming expects all keys
        folder.problems.append(f"{name} ({file}): not the keys of a {FOLDERS[name]} ({type(error).__name__}: {error})")
        return {}


def _vggt(folder: ModelFolder) -> list[Component]:
    """VGGT as encoder and heads."""
    tensors, file = _read(folder, VGGT, VGGT)
    if not tensors:
        return []
    heads = {key: tensor for key, tensor in tensors.items() if key.startswith(HEADS)}
    rest = {key: tensor for key, tensor in tensors.items() if key not in heads}
    return [Component("encoder", file, rest, KeyNames("aggregator.", vggt_block)), Component("heads", file, heads)]


def _check_files(folder: ModelFolder) -> None:
    """Note weights that belong to no component, and a tokenizer that is not there."""
    known = {*FOLDERS.values(), VGGT}
    for path in sorted(folder.path.rglob("*")):
        place = path.relative_to(folder.path)
        if place.parts[0] == STATES:
            continue
        if path.suffix in WEIGHTS and not (path.suffix == WEIGHTS[0] and str(place.parent) in known):
            folder.problems.append(f"unexpected file {place}: weights are *.safetensors in {', '.join(sorted(known))}")
    if (folder.path / FOLDERS["text"]).is_dir() and not (folder.path / "tokenizer").is_dir():
        folder.problems.append(f"{folder.path / 'tokenizer'}: missing")


def _json(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: not readable ({error})") from error
    if not isinstance(content, Mapping):
        raise ModelError(f"{path}: expected an object of JSON")
    return content
