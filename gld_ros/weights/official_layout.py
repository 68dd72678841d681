# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The official layout: which published file holds which component (spec gld.md, "Released files").

checkpoints/{da3,vggt}_{level1,cascade}.pt, pretrained_models/**, model_stats/{da3,vggt}/*.pt. The networks are those of
networks/released.py. A config.json beside the files may say what differs, as a part of a ModelConfig:
{"model": {"level1": {"width": 512, "heads": 8}}}.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from gld_ros.networks.configs import ModelConfig
from gld_ros.networks.released import MODELS
from gld_ros.networks.rgb_decoder import position_table
from gld_ros.plain import from_dict, to_dict
from gld_ros.weights.folder import STATISTICS, Component, KeyNames, ModelFolder, changed
from gld_ros.weights.official_statistics import changed_places, statistics_problems
from gld_ros.weights.tensor_files import read_archive, read_tensors, same_archives


def vggt_block(key: str) -> str:
    """Our blocks alternate in one list, VGGT publishes two: frame_blocks (ours with even numbers), global_blocks."""

    def name(match: re.Match) -> str:
        index = int(match[1])
        return f"{('frame', 'global')[index % 2]}_blocks.{index // 2}."

    return re.sub(r"^blocks\.(\d+)\.", name, key)


#: Files of the diffusion stages, by what the networks are called here.
STAGE_FILES = {"level1": "checkpoints/{kind}_level1.pt", "level0": "checkpoints/{kind}_cascade.pt"}
#: Places of the RGB decoder and of the encoder; the first one that is there is read.
RGB_FILES = {
    "da3": ("pretrained_models/mae_decoder.pt", "pretrained_models/da3/mae_decoder.pt"),
    "vggt": ("pretrained_models/vggt/mae_decoder.pt",),
}
ENCODER_FILES = {
    "da3": ("pretrained_models/da3/model.safetensors",),
    "vggt": ("pretrained_models/vggt/model.safetensors", "pretrained_models/vggt/model.pt"),
}
#: Components in the encoder's file, and keys there that GLD does not use: other heads, the token of masked patches.
ENCODER_PARTS = {
    "da3": {"encoder": KeyNames("model.backbone.pretrained.")},
    "vggt": {"encoder": KeyNames("aggregator.", vggt_block), "dpt": KeyNames("depth_head.")},
}
UNREAD = (
    *("model.head.", "model.cam_enc.", "model.cam_dec."),
    *("camera_head.", "point_head.", "track_head.", "aggregator.patch_embed.mask_token"),
)
DPT_FILE = "pretrained_models/da3/dpt_decoder.pt"
DPT_PREFIXES = ("decoder.", "pred.")
TABLE = "decoder.decoder_pos_embed"


def kinds_in(path: Path) -> list[str]:
    """The models, "da3", "vggt", that some file of the folder belongs to."""
    files = {kind: [file.format(kind=kind) for file in STAGE_FILES.values()] for kind in ENCODER_PARTS}
    return [kind for kind in files if any((path / file).exists() for file in (*files[kind], *ENCODER_FILES[kind]))]


def open_official(path: Path, kind: str, changes: dict) -> ModelFolder:
    """An official folder of a kind; changes: the part of a ModelConfig that its config.json has, if there is one."""
    folder = ModelFolder(path, MODELS[f"gld-{kind}"], [], [])
    encoder_file = _place(folder, ENCODER_FILES[kind])
    components = _split(folder.read(read_tensors, encoder_file), kind, encoder_file)
    if kind == "da3":
        components["dpt"] = _dpt_component(folder)
    rgb_file = _place(folder, RGB_FILES[kind])
    components["rgb"] = Component("rgb", rgb_file, folder.read(read_tensors, rgb_file), KeyNames("decoder."))
    for stage, name in STAGE_FILES.items():
        file = _place(folder, (name.format(kind=kind),))
        components[stage] = Component(stage, file, folder.read(read_tensors, file))
    components[STATISTICS] = _statistics(folder, kind)
    _compare_stages(folder, components)
    folder.notices += [
        f"{component.file} is stored in float16, which the published weights are not"
        for component in components.values()
        if any(tensor.dtype == torch.float16 for tensor in component.tensors.values())
    ]
    try:
        config = folder.config = from_dict(ModelConfig, changed(to_dict(folder.config), changes))
    except (ValueError, TypeError) as error:
        folder.problems.append(str(error))
        return folder
    if kind == "vggt":
        # The number of blocks in its published file is not that of its yaml.
        blocks = {key.split(".")[1] for key in components["level0"].tensors if key.startswith("blocks.")}
        if len(blocks) > config.level0.depth:
            level0 = replace(config.level0, head_depth=len(blocks) - config.level0.depth)
            folder.config = replace(config, level0=level0)
        if components["encoder"].tensors and not components["dpt"].tensors:
            folder.notices.append(f"{encoder_file} has no depth_head.*: no depth, so images but no views")
            folder.config = replace(folder.config, dpt=None)
    if components["rgb"].tensors and TABLE not in components["rgb"].tensors:  # it is always the same
        components["rgb"].tensors[TABLE] = position_table(config.rgb.base_grid, config.rgb.width)
    folder.components = [component for component in components.values() if component.tensors]
    return folder


def _place(folder: ModelFolder, candidates: Sequence[str]) -> str:
    """The first of the places where the file exists; it is noted as one of the folder's files, another one that differs
    as unread."""
    file, *others = [file for file in candidates if (folder.path / file).exists()] or candidates[:1]
    folder.files.append(file)
    for other in others:
        if not same_archives(folder.path / file, folder.path / other):
            folder.notices.append(f"{other} is unread: {file} is taken, and the two are not the same")
    return file


def _compare_stages(folder: ModelFolder, components: dict[str, Component]) -> None:
    """Note stages that their keys and shapes do not tell apart (VGGT's), and refuse one file under both names."""
    first, second = (components[stage] for stage in STAGE_FILES)
    shapes = [{key: tensor.shape for key, tensor in stage.tensors.items()} for stage in (first, second)]
    if shapes[0] and shapes[0] == shapes[1]:
        folder.interchangeable = (first.file, second.file)
        if same_archives(folder.path / first.file, folder.path / second.file):
            folder.problems.append(f"{first.file} and {second.file} hold the same weights, expected two stages")


def _split(tensors: dict[str, Tensor], kind: str, file: str) -> dict[str, Component]:
    """The encoder file's tensors by component; unknown keys go to the encoder, where they will be unexpected."""
    parts = ENCODER_PARTS[kind]
    components = {name: Component(name, file, {}, keys) for name, keys in parts.items()}
    for key, tensor in tensors.items():
        if not key.startswith(UNREAD):
            name = next((name for name, keys in parts.items() if key.startswith(keys.prefix)), "encoder")
            components[name].tensors[key] = tensor
    return components


def _dpt_component(folder: ModelFolder) -> Component:
    """The fine-tuned geometry head of DA3. Its checkpoint may hold other networks, which the official code skips."""
    _place(folder, (DPT_FILE,))
    tensors = folder.read(read_tensors, DPT_FILE)
    own = {key: tensor for key, tensor in tensors.items() if key.startswith(DPT_PREFIXES)}
    if len(own) < len(tensors):
        folder.notices.append(
            f"{DPT_FILE}: {len(tensors) - len(own)} tensors outside {' and '.join(DPT_PREFIXES)} unread"
        )
    renamed: dict[str, Tensor] = {}
    for key, tensor in own.items():
        name = "decoder." + key.split(".", 1)[1]
        if name in renamed:
            folder.problems.append(f"dpt ({DPT_FILE}): {key} under both {' and '.join(DPT_PREFIXES)}")
        renamed[name] = tensor
    if tensors and not renamed:
        folder.problems.append(f"dpt ({DPT_FILE}): no keys that begin with {' or '.join(DPT_PREFIXES)}")
    return Component("dpt", DPT_FILE, renamed, KeyNames("decoder."))


def _statistics(folder: ModelFolder, kind: str) -> Component:
    """Mean and variance of the latents, from files {mean (1, C, 1, 1), var, std, count, level}, under our names."""
    place = f"model_stats/{kind}"
    files = {"level": "normalization_stats_level"} | ({"special": "special_stats_level"} if kind == "vggt" else {})
    tensors, contents = {}, {}
    for k in (0, 1):
        for ours, published in files.items():
            file = _place(folder, (f"{place}/{published}{k}.pt",))
            if not (content := folder.read(read_archive, file)):
                continue
            contents[ours] = content
            folder.problems += [f"{folder.path / file}: {line}" for line in statistics_problems(content, k)]
            for what in ("mean", "var"):
                if isinstance(content.get(what), Tensor):
                    tensors[f"{ours}{k}_{what}"] = content[what].flatten()
        if changed_places(contents):
            names = " and ".join(f"{published}{k}.pt" for published in files.values())
            folder.problems.append(
                f"{folder.path / place}: {names} are exchanged: there are fewer patches than special tokens"
            )
    return Component(STATISTICS, place, tensors)
