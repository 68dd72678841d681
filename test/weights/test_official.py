# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The official layout: one strict report, and what `gld models verify` names."""

import json
import pickle
import re
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from builders.official_folder import save, small_config, write_official_folder
from safetensors.torch import load_file, save_file

from gld_ros.cli import main
from gld_ros.errors import ModelError
from gld_ros.weights import verification
from gld_ros.weights.folder import KeyNames, on_meta
from gld_ros.weights.layout import open_folder
from gld_ros.weights.loading import load_model
from gld_ros.weights.official_layout import STAGE_FILES, vggt_block
from gld_ros.weights.tensor_files import read_tensors

ENCODER, DPT = "pretrained_models/da3/model.safetensors", "pretrained_models/da3/dpt_decoder.pt"
RGB, LEVEL1, LEVEL0 = "pretrained_models/mae_decoder.pt", "checkpoints/da3_level1.pt", "checkpoints/da3_cascade.pt"
STATISTICS = "model_stats/da3/normalization_stats_level1.pt"


def change(path: Path, edit) -> None:
    """Rewrite a file of weights with its tensors edited in place."""
    if path.suffix == ".safetensors":
        tensors = load_file(path)
        edit(tensors)
        save_file(tensors, path)
    else:
        content = torch.load(path, weights_only=True)
        edit(content.get("ema", content.get("model", content)))
        torch.save(content, path)


def rename(old: str, new: str):
    return lambda tensors: tensors.update({new: tensors.pop(old)})


def reshape(key: str, *shape: int):
    return lambda tensors: tensors.update({key: tensors[key].reshape(*shape)})


def told(folder: Path, **model) -> None:
    (folder / "config.json").write_text(json.dumps({"model": model}))


def verify(capsys, folder: Path) -> str:
    """The report of `gld models verify` on a broken folder."""
    assert main(["models", "verify", str(folder)]) == 1
    return capsys.readouterr().err


@pytest.mark.parametrize("kind", ["da3", "vggt"])
def test_a_folder_loads_and_is_what_was_written(originals, kind):
    net = load_model(originals / kind)
    assert net.config == small_config(kind)
    for stage, file in STAGE_FILES.items():
        written = torch.load(originals / kind / file.format(kind=kind), weights_only=True)["ema"]
        assert all(torch.equal(v, written[k]) for k, v in getattr(net, stage).state_dict().items())
    encoder = load_file(originals / kind / f"pretrained_models/{kind}/model.safetensors")
    part = KeyNames("model.backbone.pretrained.") if kind == "da3" else KeyNames("aggregator.", vggt_block)
    assert all(torch.equal(v, encoder[part.key(k)]) for k, v in net.encoder.state_dict().items())
    stats = torch.load(originals / kind / f"model_stats/{kind}/normalization_stats_level1.pt", weights_only=True)
    assert torch.equal(net.level1_mean, stats["mean"].flatten()) and torch.equal(net.level1_var, stats["var"].flatten())
    assert not any(p.is_meta or p.requires_grad for p in (*net.parameters(), *net.buffers()))


def test_bfloat16_is_the_weights_alone(originals):
    net = load_model(originals / "da3", dtype=torch.bfloat16)
    assert net.level1.blocks[0].attn.qkv.weight.dtype == torch.bfloat16
    exact = (net.level1.t_embedder.W, net.rgb.decoder_pos_embed, net.level0_mean, net.encoder.norm.bias)
    assert all(tensor.dtype == torch.float32 for tensor in exact)


def test_weights_of_the_asked_dtype_stay_in_their_file(originals):
    """No second copy: the parameters lie in the mapped file."""
    net = load_model(originals / "da3")
    maps = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
    spans = [line[0].split("-") for line in maps if line[-1] == str(originals / "da3" / LEVEL1)]
    address = net.level1.blocks[0].norm1.weight.data_ptr()
    assert any(int(start, 16) <= address < int(end, 16) for start, end in spans)


def test_converted_weights_let_go_of_their_source(da3):
    """Otherwise float32 files would stay resident beside the bfloat16 weights."""
    net = load_model(da3, dtype=torch.bfloat16)
    assert net.level1.blocks[0].norm1.weight.dtype == torch.float32  # one that needs no conversion
    maps = Path("/proc/self/maps").read_text()
    assert str(da3 / LEVEL1) not in maps and str(da3 / ENCODER) not in maps and str(da3 / RGB) not in maps


@pytest.mark.parametrize("kind", ["da3", "vggt"])
def test_verify_passes(originals, kind, capsys):
    assert main(["models", "verify", str(originals / kind)]) == 0
    out = capsys.readouterr().out
    assert "all keys, shapes and numbers are right" in out and f"checkpoints/{kind}_level1.pt" in out


@pytest.mark.parametrize("kind", ["da3", "vggt"])
def test_any_one_wrong_key_is_named_alone(originals, kind):
    folder = open_folder(originals / kind)
    net = on_meta(folder.config)
    for component in folder.components:
        tensors = component.tensors
        # DA3's ray scales share a layer, which may be there under one of its names.
        for key in [key for key in tensors if "output_conv2_aux" not in key][::29]:
            for name, tensor in ((key + "x", tensors[key]), (key, tensors[key][None, None])):
                component.tensors = {k: v for k, v in tensors.items() if k != key} | {name: tensor}
                shapes = tuple(tensor.shape), tuple(tensors[key].shape)
                reshaped = [f"{key} is {shapes[0]}, expected {shapes[1]}"]
                assert component.misfits(net) == (reshaped if name == key else [f"missing {key}", f"unexpected {name}"])
        component.tensors = tensors


def test_the_blocks_of_vggts_level_0_are_counted(tmp_path):
    """The published file has more of them than its yaml says."""
    config = small_config("vggt")
    config = replace(config, level0=replace(config.level0, head_depth=2))
    write_official_folder(tmp_path, "vggt", config)
    description = json.loads((tmp_path / "config.json").read_text())["model"]
    description["level0"]["head_depth"] = 6
    told(tmp_path, **description)
    assert load_model(tmp_path).config == config


@pytest.mark.parametrize(
    ("component", "file", "key", "shapes"),
    [
        ("level1", LEVEL1, "blocks.1.attn.qkv.weight", None),
        ("level0", LEVEL0, "t_embedder.W", None),
        ("dpt", DPT, "decoder.scratch.layer1_rn.weight", None),
        ("encoder", ENCODER, "model.backbone.pretrained.blocks.3.ls1.gamma", None),
        ("level1", LEVEL1, "s_projector.weight", ((64, 128), (128, 64))),
        ("rgb", RGB, "decoder.decoder_norm.weight", ((8, 8), (64,))),
        ("encoder", ENCODER, "model.backbone.pretrained.cls_token", ((1, 64, 1), (1, 1, 64))),
    ],
)
def test_a_renamed_or_reshaped_tensor_is_named(da3, capsys, component, file, key, shapes):
    change(da3 / file, reshape(key, *shapes[0]) if shapes else rename(key, key + "x"))
    problem = f"{key} is {shapes[0]}, expected {shapes[1]}" if shapes else f"missing {key}; unexpected {key}x"
    said = verify(capsys, da3)
    assert f"{component} ({file}): {problem}" in said and "1 problem\n" in said
    with pytest.raises(ModelError, match=re.escape(problem)):
        load_model(da3)


def test_a_flipped_byte_is_found_by_the_archives_checksum(da3, capsys):
    path = da3 / LEVEL1
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert f"{path}: corrupted, its " in verify(capsys, da3)
    with pytest.raises(ModelError, match="da3_level1.pt: corrupted, its .* contradicts its checksum"):
        load_model(da3)


def test_a_flipped_byte_of_safetensors_is_found_by_the_recorded_hash(da3, capsys):
    assert main(["models", "verify", str(da3), "--record"]) == 0
    assert "a changed byte would go unseen" in capsys.readouterr().out
    path = da3 / ENCODER
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert f"{path}: corrupted or incomplete, its sha256 is not" in verify(capsys, da3)
    with pytest.raises(ModelError, match="model.safetensors: corrupted"):
        load_model(da3)


class Evil:
    def __reduce__(self):
        return (print, ("this must never be printed",))


@pytest.mark.parametrize("wrap", [True, False])
def test_a_pickled_object_is_refused(da3, capsys, wrap):
    path = da3 / LEVEL0
    if wrap:
        content = torch.load(path, weights_only=True)
        save(path, content | {"args": Evil()})
    else:
        path.write_bytes(pickle.dumps(Evil()))
    assert main(["models", "verify", str(da3)]) == 1
    said = capsys.readouterr()
    assert str(path) in said.err and "never be printed" not in said.out + said.err
    if wrap:
        assert "refused, it holds pickled objects, which could run code (builtins.print)" in said.err
    with pytest.raises(ModelError, match="da3_cascade.pt"):
        load_model(da3)


def test_truncated_files_are_named_in_one_report(da3):
    for file in (LEVEL1, ENCODER):
        (da3 / file).write_bytes((da3 / file).read_bytes()[:-5000])
    (da3 / RGB).unlink()
    change(da3 / LEVEL0, rename("s_projector.bias", "other"))
    with pytest.raises(ModelError) as caught:
        load_model(da3)
    report = str(caught.value)
    rows = {result.file: result.problem for result in verification.verify(da3).files}
    assert rows[LEVEL1].startswith("not a whole torch.save archive")
    assert rows[ENCODER].startswith("not a readable safetensors file") and rows[RGB] == "missing"
    assert "4 problems" in report and f"{da3 / RGB}: missing" in report
    assert f"{da3 / LEVEL1}: not a whole torch.save archive" in report
    assert f"{da3 / ENCODER}: not a readable safetensors file" in report
    assert f"level0 ({LEVEL0}): missing s_projector.bias; unexpected other" in report


def test_swapped_stages_and_foreign_models_do_not_pass(da3, vggt):
    shutil.copy(da3 / LEVEL0, da3 / "spare.pt")
    shutil.copy(da3 / LEVEL1, da3 / LEVEL0)
    with pytest.raises(ModelError, match=r"level0 .*unexpected x_embedder_ref.proj.weight"):
        load_model(da3)
    shutil.copy(da3 / "spare.pt", da3 / LEVEL1)
    with pytest.raises(ModelError, match=r"level1 .*missing x_embedder_ref.proj.weight"):
        load_model(da3)
    shutil.copy(vggt / "checkpoints/vggt_level1.pt", da3 / LEVEL1)
    with pytest.raises(ModelError, match=r"level1 \(checkpoints/da3_level1.pt\): missing blocks.3.* more"):
        load_model(da3)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda s: s.update(level=0), "is of level 0, expected 1"),
        (lambda s: s.pop("var"), "has no 'var'"),
        (lambda s: s["var"].mul_(-1), "level1_var is not positive"),
        (lambda s: s["mean"].fill_(torch.nan), "level1_mean is not finite"),
        (lambda s: s.update(mean=torch.zeros(1, 64, 1, 1)), r"level1_mean is \(64,\), expected \(128,\)"),
    ],
)
def test_statistics_are_checked(da3, edit, message):
    change(da3 / STATISTICS, edit)
    with pytest.raises(ModelError, match=message):
        load_model(da3)


def test_numbers_that_are_not_finite_are_named(da3, capsys):
    change(da3 / RGB, lambda t: t["decoder.decoder_pred.weight"].fill_(torch.inf))
    assert "rgb (pretrained_models/mae_decoder.pt): decoder.decoder_pred.weight is not finite" in verify(capsys, da3)


def test_both_places_and_wrappings_of_the_rgb_decoder(da3):
    expected = load_model(da3).rgb.state_dict()
    tensors = read_tensors(da3 / RGB)
    for name, content in (("model", {"model": tensors}), ("flat", tensors)):
        (da3 / RGB).unlink(missing_ok=True)
        save(da3 / "pretrained_models/da3/mae_decoder.pt", content)
        found = load_model(da3).rgb.state_dict()
        assert all(torch.equal(v, found[k]) for k, v in expected.items()), name


def test_the_position_table_may_be_absent(da3):
    table = load_model(da3).rgb.decoder_pos_embed.clone()
    change(da3 / RGB, lambda t: t.pop("decoder.decoder_pos_embed"))
    assert torch.equal(load_model(da3).rgb.decoder_pos_embed, table)


def test_geometry_head_under_two_prefixes_beside_other_networks(da3):
    expected = {k: v.clone() for k, v in load_model(da3).dpt.state_dict().items()}  # the file is written over below

    def edit(tensors):
        for key in [k for k in tensors if "output_conv" in k]:
            tensors[key.replace("decoder.", "pred.", 1)] = tensors.pop(key)
        tensors["encoder.norm.weight"] = torch.zeros(3)

    change(da3 / DPT, edit)
    with pytest.warns(UserWarning, match="1 tensors outside"):
        found = load_model(da3).dpt.state_dict()
    assert all(torch.equal(v, found[k]) for k, v in expected.items())


def test_vggt_without_its_geometry_head(vggt):
    def drop(tensors):
        for key in [k for k in tensors if k.startswith("depth_head.")]:
            del tensors[key]

    change(vggt / "pretrained_models/vggt/model.safetensors", drop)
    with pytest.warns(UserWarning, match="has no depth_head"):
        net = load_model(vggt)
    assert net.config.dpt is None and not hasattr(net, "dpt")


def test_vggt_weights_as_a_pickle_archive(vggt):
    path = vggt / "pretrained_models/vggt/model.safetensors"
    save(path.with_suffix(".pt"), load_file(path))
    path.unlink()
    assert load_model(vggt).config == small_config("vggt")


def test_sizes_other_than_the_released_ones_are_in_the_description(da3):
    told(da3, level1={"headz": 4})
    with pytest.raises(ModelError, match=r"DiTConfig: unknown fields \['headz'\]"):
        load_model(da3)
    told(da3, rgb={"width": 1160})
    with pytest.raises(ModelError, match="no networks can be built .*1160 channels do not split into 16 heads"):
        load_model(da3)
    told(da3, level1={"heads": 7})
    with pytest.raises(ModelError, match="768 channels do not split into 7 heads of a multiple of 8"):
        load_model(da3)
    (da3 / "config.json").unlink()
    with pytest.raises(ModelError, match=r"level0_mean is \(128,\), expected \(1536,\)"):
        load_model(da3)


def test_a_folder_with_both_models_must_say_which(da3, vggt):
    shutil.copytree(vggt, da3, dirs_exist_ok=True)
    description = json.loads((da3 / "config.json").read_text())["model"]
    del description["name"]
    told(da3, **description)
    with pytest.raises(ModelError, match="holds both released models"):
        load_model(da3)
    told(da3, name="gld-vggt", **description)
    assert load_model(da3).config.name == "gld-vggt"


def test_folders_that_are_no_model(tmp_path, capsys):
    with pytest.raises(ModelError, match="no model: neither a config.json"):
        load_model(tmp_path)
    assert "no model: neither" in verify(capsys, tmp_path)
    assert "nowhere" in verify(capsys, tmp_path / "nowhere")


def test_archives_that_are_no_dict_of_tensors(da3):
    torch.save(torch.zeros(3), da3 / LEVEL1)
    with pytest.raises(ModelError, match="da3_level1.pt: holds a Tensor, expected a dict"):
        load_model(da3)
    torch.save({"ema": {"weight": 3}}, da3 / LEVEL1)
    with pytest.raises(ModelError, match="da3_level1.pt: expected tensors, found weight"):
        load_model(da3)
    with zipfile.ZipFile(da3 / LEVEL1, "w") as archive:
        archive.writestr("something", b"else")
    with pytest.raises(ModelError, match="da3_level1.pt: not a readable torch.save archive"):
        load_model(da3)


@pytest.mark.parametrize("kept", [0, 3])
def test_a_shared_layer_may_be_in_the_file_once(da3, kept):
    """DA3's four ray scales share a LayerNorm; safetensors files leave out all its names but one."""

    def drop(prefix):
        others = [f"{prefix}scratch.output_conv2_aux.{k}.2." for k in range(4) if k != kept]
        return lambda tensors: [tensors.pop(k) for k in list(tensors) if k.startswith(tuple(others))]

    change(da3 / DPT, drop("decoder."))
    written = torch.load(da3 / DPT, weights_only=True)["model"]
    found = load_model(da3).dpt.state_dict()
    for k in range(4):
        for name in ("weight", "bias"):
            ours, theirs = (f"scratch.output_conv2_aux.{i}.2.{name}" for i in (k, kept))
            assert torch.equal(found[ours], written[f"decoder.{theirs}"])
    change(da3 / DPT, lambda tensors: tensors.pop(f"decoder.scratch.output_conv2_aux.{kept}.2.weight"))
    with pytest.raises(ModelError, match="missing decoder.scratch.output_conv2_aux.0.2.weight"):
        load_model(da3)
