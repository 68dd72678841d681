# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A Gen3R in the published layout: strict loading, and what `gld models verify` names."""

import hashlib
import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from builders.gen3r_folder import TINY, tiny_gen3r_folder
from builders.hub_server import HubServer
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

from gld_ros.cli import main
from gld_ros.errors import ModelError
from gld_ros.weights.hub import resolve
from gld_ros.weights.layout import open_folder
from gld_ros.weights.loading import load_model, load_networks
from gld_ros.weights.text_states import TextStates

WEIGHTS = "diffusion_pytorch_model.safetensors"
TRANSFORMER, ADAPTER, VAE = (f"{place}/{WEIGHTS}" for place in ("transformer", "geo_adapter", "wan_vae"))


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    return tiny_gen3r_folder(tmp_path_factory.mktemp("published") / "tiny")


@pytest.fixture
def folder(original, tmp_path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "tiny"))


def told(path: Path, **values) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def refused(folder: Path, capsys, *sentences: str) -> None:
    """Neither loading nor `gld models verify` lets the folder pass, and both say why."""
    assert main(["models", "verify", str(folder)]) == 1
    said = capsys.readouterr().err
    with pytest.raises(ModelError) as error:
        load_networks(folder)
    assert all(sentence in said and sentence in str(error.value) for sentence in sentences), said


def test_a_folder_loads_and_is_what_was_written(original, recwarn):
    net = load_networks(original)
    assert net.config == TINY and not recwarn.list
    written = load_file(original / ADAPTER)
    assert all(torch.equal(tensor, written[f"model.{key}"]) for key, tensor in net.adapter.state_dict().items())
    written = load_file(original / "clip_image_encoder" / WEIGHTS)["model.visual.transformer.0.attn.to_qkv.weight"]
    attention = net.image.net.encoder.layers[0].self_attn
    assert torch.equal(attention.k_proj.weight, written.chunk(3)[1])
    assert not any(tensor.is_meta or tensor.requires_grad for tensor in (*net.parameters(), *net.buffers()))
    assert load_networks(original, without=("text",)).text is None


def test_bfloat16_is_the_weights_alone(original):
    net = load_networks(original, dtype=torch.bfloat16)
    assert (
        net.transformer.blocks[0].self_attn.q.weight.dtype == net.vae.net.encoder.conv_in.weight.dtype == torch.bfloat16
    )
    exact = (
        net.transformer.time_embedding[0].weight,
        net.transformer.time_projection[1].weight,
        net.transformer.head.modulation,
    )
    assert {tensor.dtype for tensor in (*exact, *net.heads.camera_head.parameters())} == {torch.float32}


def test_verify_passes_and_a_converted_folder_loads(original, tmp_path, capsys):
    assert main(["models", "verify", str(original)]) == 0
    assert f"{TINY.name}, all keys, shapes and numbers are right" in capsys.readouterr().out
    assert main(["models", "convert", str(original), str(tmp_path / "converted")]) == 0
    assert main(["models", "verify", str(tmp_path / "converted")]) == 0
    assert torch.isfinite(TextStates(tmp_path / "converted")("a hall")).all()  # it has the tokenizer, too
    net = load_networks(tmp_path / "converted")
    assert net.config == TINY and net.transformer.blocks[0].self_attn.q.weight.dtype == torch.bfloat16


def test_without_the_text_encoder(folder, capsys):
    shutil.rmtree(folder / "text_encoder")
    with pytest.warns(UserWarning, match="text_encoder/ is not there: only prompts whose states are kept"):
        assert load_networks(folder).text is None
    assert main(["models", "verify", str(folder)]) == 0


def test_a_renamed_key_is_named(folder, capsys):
    for file, key, name in (
        (TRANSFORMER, "blocks.0.ffn.0.weight", "blocks.0.ffn.0.weight"),
        (VAE, "model.encoder.conv1.weight", "encoder.conv1.weight"),
        ("text_encoder/model-00001-of-00002.safetensors", "token_embedding.weight", "shared.weight"),
        ("vggt/model.safetensors", "point_head.norm.bias", "point_head.norm.bias"),
    ):
        tensors = load_file(folder / file)
        save_file({(f"{k}x" if k == key else k): tensor for k, tensor in tensors.items()}, folder / file)
        refused(folder, capsys, f"{name}x", f"({file}")
        save_file(tensors, folder / file)


def test_a_swapped_component_is_named(folder, capsys):
    shutil.copy(folder / ADAPTER, folder / VAE)
    refused(folder, capsys, f"vae ({VAE})")


def test_a_truncated_file_is_named(folder, capsys):
    (folder / TRANSFORMER).write_bytes((folder / TRANSFORMER).read_bytes()[:-1000])
    refused(folder, capsys, f"{folder / TRANSFORMER}: not a readable safetensors file")


def test_missing_and_extra_files_are_named(folder, capsys):
    (folder / "clip_image_encoder" / WEIGHTS).unlink()
    (folder / "transformer/config.json").unlink()
    shutil.rmtree(folder / "tokenizer")
    (folder / "Wan2.1_VAE.pth").touch()
    shutil.copy(folder / VAE, folder / "wan_vae/second.safetensors")
    refused(
        folder,
        capsys,
        f"{folder}/clip_image_encoder: no *.safetensors file",
        f"{folder}/transformer/config.json: missing",
        f"{folder}/tokenizer: missing",
        "unexpected file Wan2.1_VAE.pth",
        "(wan_vae/second.safetensors): model.conv1.bias a second time",
    )


def test_another_pipeline_and_the_base_model(folder, capsys):
    told(folder / "transformer/config.json", in_dim=32)
    refused(folder, capsys, "in_dim is 32, expected 36", "not converted?")
    told(folder / "model_index.json", _class_name="WanImageToVideoPipeline")
    refused(folder, capsys, "a folder of WanImageToVideoPipeline, expected Gen3RPipeline")


def test_what_the_configs_say_counts(folder, capsys):
    told(folder / "scheduler/scheduler_config.json", shift=5.0)
    told(folder / "transformer/config.json", in_channels=7, window=3)
    found = open_folder(folder)
    assert found.config.shift == 5.0 and found.notices == ["transformer/config.json: nothing here knows window"]
    told(folder / "transformer/config.json", freq_dim=128, num_layers=2)
    refused(folder, capsys, "freq_dim is 128, expected 256", "missing blocks.1.")
    told(folder / "transformer/config.json", num_layers="two")
    refused(folder, capsys, "num_layers is 'two', expected whole numbers")


def test_it_is_no_gld(original):
    with pytest.raises(ModelError, match=re.escape(f"{original}: holds Gen3RNetworks, expected those of a GLD")):
        load_model(original)


@pytest.fixture
def server(original, monkeypatch, tmp_path):
    """A Hub with the tiny folder as the repository of the released model, and files that are no part of it."""
    hub_server = HubServer()
    files = {str(file.relative_to(original)): file.read_bytes() for file in original.rglob("*") if file.is_file()}
    hub_server.files = {"JaceyH919/Gen3R": files | {"assets/teaser.png": b"png", "README.md": b"text"}}
    monkeypatch.setattr(constants, "ENDPOINT", hub_server.url)
    template = hub_server.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "home/hub"))
    monkeypatch.setattr(constants, "HF_ASSETS_CACHE", str(tmp_path / "home/assets"))
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    yield hub_server
    hub_server.stop()


def test_download_prints_licences_records_hashes_and_keeps_prompts(server, capsys, original):
    """As `gen3r`; afterwards the folder needs neither the Hub nor the text encoder."""
    assert main(["models", "download", "gen3r"]) == 0
    said = capsys.readouterr()
    assert "about 20.3 GB" in said.err and "its VGGT and what was trained on it: no commercial use" in said.err
    folder = Path(said.out.strip())
    files = json.loads((folder / "release.json").read_text())["files"]
    digest = hashlib.sha256((original / TRANSFORMER).read_bytes()).hexdigest()
    assert files[TRANSFORMER]["sha256"] == digest and "assets/teaser.png" not in files
    assert len(list((folder / "text_states").iterdir())) == 2
    asked = len(server.requests)
    assert main(["models", "verify", "gen3r"]) == 0 and main(["models", "list"]) == 0
    assert str(folder) in capsys.readouterr().out and len(server.requests) == asked
    assert resolve("JaceyH919/Gen3R") == resolve("gen3r", local_files_only=True) == folder
    shutil.rmtree(folder / "text_encoder")
    assert torch.isfinite(TextStates(folder)("bad detailed")).all()


def test_a_changed_byte_is_found_by_the_recorded_hash(server, capsys):
    assert main(["models", "download", "gen3r"]) == 0
    folder = Path(capsys.readouterr().out.strip())
    path = (folder / ADAPTER).resolve()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    refused(folder, capsys, f"{folder / ADAPTER}: corrupted or incomplete, its sha256 is not")
