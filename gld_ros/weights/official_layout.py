# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The official layout: which published file holds which component (spec gld.md, "Released files").

checkpoints/{da3,vggt}_{level1,cascade}.pt, pretrained_models/**, model_stats/{da3,vggt}/*.pt. Sizes and depths come
from the files. A config.json beside them may say what no tensor tells, as a part of a ModelConfig:
{"model": {"level1": {"heads": 4}}}.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from torch import Tensor, nn

from gld_ros.errors import ModelError
from gld_ros.networks.camera_heads import CameraDecoder, CameraEncoder, CameraHead
from gld_ros.networks.configs import ModelConfig
from gld_ros.networks.dpt import DualDPT, PointDPT
from gld_ros.networks.released import DA3_BASE_HEAD, MODELS, VGGT_HEAD
from gld_ros.networks.rgb_decoder import position_table
from gld_ros.plain import from_dict, to_dict
from gld_ros.weights.files import read_archive, read_tensors
from gld_ros.weights.folder import STATISTICS, ModelFolder, Piece
from gld_ros.weights.official import Part, vggt_block
from gld_ros.weights.sizes import Shapes, check_heads, majority, read_dit, read_dpt, read_encoder, read_rgb

#: Where the RGB decoder of each model has been seen.
RGB_FILES = {
    "da3": ("pretrained_models/mae_decoder.pt", "pretrained_models/da3/mae_decoder.pt"),
    "vggt": ("pretrained_models/vggt/mae_decoder.pt",),
}
ENCODER_FILES = {
    "da3": ("pretrained_models/da3/model.safetensors",),
    "vggt": ("pretrained_models/vggt/model.safetensors", "pretrained_models/vggt/model.pt"),
}
DPT_FILE = "pretrained_models/da3/dpt_decoder.pt"
DPT_PREFIXES = ("decoder.", "pred.")
TABLE = "decoder.decoder_pos_embed"
#: What the encoders' files hold. Components that GLD does not use come with how to build what they should be.
ENCODER_PARTS = {
    "da3": {
        "encoder": Part("model.backbone.pretrained."),
        "head": Part("model.head."),
        "cam_enc": Part("model.cam_enc."),
        "cam_dec": Part("model.cam_dec."),
    },
    "vggt": {
        "encoder": Part("aggregator.", vggt_block),
        "dpt": Part("depth_head."),
        "camera_head": Part("camera_head."),
        "point_head": Part("point_head."),
    },
}
#: Published keys that nothing of ours reads: the stem was trained with masked patches; tracking.
UNREAD = ("aggregator.patch_embed.mask_token", "track_head.")


#: Files of the diffusion stages, by what the networks are called here.
STAGE_FILES = {"level1": "checkpoints/{kind}_level1.pt", "level0": "checkpoints/{kind}_cascade.pt"}


def kinds_in(path: Path) -> list[str]:
    """The models, "da3", "vggt", that some file of the folder belongs to."""

    def files(kind: str) -> list[str]:
        return [*(file.format(kind=kind) for file in STAGE_FILES.values()), *ENCODER_FILES[kind]]

    return [kind for kind in ENCODER_PARTS if any((path / file).exists() for file in files(kind))]


def open_official(path: Path, kind: str, told: dict) -> ModelFolder:
    """What is in an official folder of a kind; told: what its config.json says of the model, if there is one."""
    released = MODELS[f"gld-{kind}"]
    folder = ModelFolder(path, released, [], [])
    encoder_file = _place(folder, ENCODER_FILES[kind])
    parts = ENCODER_PARTS[kind]
    pieces = _split(folder.read(read_tensors, encoder_file), parts, encoder_file)
    if kind == "da3":
        pieces["dpt"] = _dpt_piece(folder)
    rgb_file = _place(folder, RGB_FILES[kind])
    pieces["rgb"] = Piece("rgb", rgb_file, folder.read(read_tensors, rgb_file), Part("decoder."))
    for stage, name in STAGE_FILES.items():
        file = _place(folder, (name.format(kind=kind),))
        pieces[stage] = Piece(stage, file, folder.read(read_tensors, file))
    pieces[STATISTICS] = _statistics(folder, kind)
    if pieces["encoder"].tensors and not pieces["dpt"].tensors and kind == "vggt":
        folder.notices.append(f"{encoder_file} has no depth_head.*: no depth, so images but no views")
        released = replace(released, dpt=None)
    try:
        folder.config = _read_config(released, told, pieces)
    except (ModelError, ValueError, TypeError) as error:
        folder.problems.append(str(error))
        return folder
    _explain_unused(pieces, folder.config)
    if pieces["rgb"].tensors and TABLE not in pieces["rgb"].tensors:  # it is always the same
        pieces["rgb"].tensors[TABLE] = position_table(folder.config.rgb.base_grid, folder.config.rgb.width)
    folder.pieces = [piece for piece in pieces.values() if piece.tensors]
    return folder


def _read_config(released: ModelConfig, told: dict, pieces: Mapping[str, Piece]) -> ModelConfig:
    """The configuration: what the tensors tell, then what config.json tells, then as released."""
    config = from_dict(ModelConfig, _merged(to_dict(released), told))
    shapes = {name: Shapes(piece.tensors, piece.part.prefix) for name, piece in pieces.items()}
    # Where the encoder's file cannot be read, the stages tell its channels.
    told_by = [size for name in STAGE_FILES for size in shapes[name].sizes(("final_layer.linear.bias", 0))]
    channels = majority(told_by, config.encoder.channels)
    encoder = read_encoder(replace(config.encoder, width=channels // 2), shapes["encoder"])
    config = replace(
        config,
        encoder=encoder,
        dpt=config.dpt and read_dpt(config.dpt, shapes["dpt"]),
        rgb=read_rgb(config.rgb, shapes["rgb"]),
        level1=read_dit(config.level1, shapes["level1"], encoder.channels),
        level0=read_dit(config.level0, shapes["level0"], encoder.channels),
    )
    check_heads("rgb", "heads", config.rgb.width, config.rgb.heads)
    for name, dit in (("level1", config.level1), ("level0", config.level0)):
        check_heads(name, "heads", dit.width, dit.heads)
        check_heads(name, "head_heads", dit.head_width, dit.head_heads)
    return config


def _merged(base: dict, changes: dict) -> dict:
    """`base` with the values of `changes`, section by section."""
    merged = dict(base)
    for key, value in changes.items():
        inner = isinstance(value, dict) and isinstance(base.get(key), dict)
        merged[key] = _merged(base[key], value) if inner else value
    return merged


def _place(folder: ModelFolder, candidates: Iterable[str]) -> str:
    """Where the file is, of the places it may be at; noted as one of the folder's."""
    file = next((file for file in candidates if (folder.path / file).exists()), [*candidates][0])
    folder.files.append(file)
    return file


def _split(tensors: dict[str, Tensor], parts: Mapping[str, Part], file: str) -> dict[str, Piece]:
    """A file's tensors by component; keys of none of them go to the encoder, where they will be unexpected."""
    pieces = {name: Piece(name, file, {}, part) for name, part in parts.items()}
    for key, tensor in tensors.items():
        if not key.startswith(UNREAD):
            name = next((name for name, part in parts.items() if key.startswith(part.prefix)), "encoder")
            pieces[name].tensors[key] = tensor
    return pieces


def _explain_unused(pieces: Mapping[str, Piece], config: ModelConfig) -> None:
    """What the components that GLD does not use should be."""
    channels = config.encoder.channels
    builders: dict[str, Callable[[], nn.Module]] = {
        "cam_enc": partial(CameraEncoder, config.encoder.width),
        "cam_dec": partial(CameraDecoder, channels),
        "camera_head": partial(CameraHead, channels),
    }
    for name, base, kind in (("head", DA3_BASE_HEAD, DualDPT), ("point_head", VGGT_HEAD, PointDPT)):
        if name in pieces:
            own = read_dpt(base, Shapes(pieces[name].tensors, pieces[name].part.prefix))
            builders[name] = partial(kind, channels, own)
    for name, piece in pieces.items():
        piece.unused = builders.get(name)


def _dpt_piece(folder: ModelFolder) -> Piece:
    """The fine-tuned geometry head of DA3. Its checkpoint may hold other networks, which the official code skips."""
    _place(folder, (DPT_FILE,))
    tensors = folder.read(read_tensors, DPT_FILE)
    own = {key: tensor for key, tensor in tensors.items() if key.startswith(DPT_PREFIXES)}
    if len(own) < len(tensors):
        folder.notices.append(
            f"{DPT_FILE}: {len(tensors) - len(own)} tensors outside {' and '.join(DPT_PREFIXES)} unread"
        )
    found: dict[str, Tensor] = {}
    for key, tensor in own.items():
        name = "decoder." + key.split(".", 1)[1]
        if name in found:
            folder.problems.append(f"dpt ({DPT_FILE}): {key} under both {' and '.join(DPT_PREFIXES)}")
        found[name] = tensor
    if tensors and not found:
        folder.problems.append(f"dpt ({DPT_FILE}): no keys that begin with {' or '.join(DPT_PREFIXES)}")
    return Piece("dpt", DPT_FILE, found, Part("decoder."))


def _statistics(folder: ModelFolder, kind: str) -> Piece:
    """Mean and variance of the latents, from files {mean (1, C, 1, 1), var, std, count, level}, under our names."""
    place = f"model_stats/{kind}"
    files = {"level": "normalization_stats_level"} | ({"special": "special_stats_level"} if kind == "vggt" else {})
    found = {}
    for ours, published in files.items():
        for k in (0, 1):
            file = _place(folder, (f"{place}/{published}{k}.pt",))
            content = folder.read(read_archive, file)
            if not content:
                continue
            if content.get("level", k) != k:
                folder.problems.append(f"{folder.path / file}: is of level {content['level']}, expected {k}")
            for what in ("mean", "var"):
                if not isinstance(content.get(what), Tensor):
                    folder.problems.append(f"{folder.path / file}: has no '{what}'")
                else:
                    found[f"{ours}{k}_{what}"] = content[what].flatten()
    return Piece(STATISTICS, place, found)
