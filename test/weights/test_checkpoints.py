# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Models on disk: strict, checksummed, errors that name the file and the key."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from builders.official_folder import write_official_folder
from safetensors.torch import load_file, save_file

from gld_ros.cli import main
from gld_ros.errors import ModelError
from gld_ros.files import sha256
from gld_ros.pipeline import GLDPipeline
from gld_ros.plain import to_dict
from gld_ros.weights import conversion
from gld_ros.weights.hub import EMBEDDED
from gld_ros.weights.layout import CONFIG, WEIGHTS
from gld_ros.weights.loading import load_model, save_model
from gld_ros.weights.tensor_files import write_tensors


@pytest.fixture
def folder(tmp_path) -> Path:
    return Path(shutil.copytree(EMBEDDED / "mini", tmp_path / "mini"))


def rewrite(folder: Path, change) -> None:
    """Change the tensors and keep the checksum right."""
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS)
    description = json.loads((folder / CONFIG).read_text())
    description["sha256"][WEIGHTS] = sha256(folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps(description))


def test_the_embedded_model_is_small_whole_and_loads(capsys):
    assert main(["models", "verify", "mini"]) == 0
    assert "model.safetensors" in capsys.readouterr().out
    assert sum(f.stat().st_size for f in (EMBEDDED / "mini").iterdir()) <= 24e6
    assert GLDPipeline.from_pretrained("mini", device="cpu").name == "mini"


def test_saved_is_loaded_again(folder, tmp_path):
    net = load_model(folder)
    save_model(tmp_path / "copy", net)
    again = load_model(tmp_path / "copy")
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), again.state_dict().values(), strict=True))
    assert again.config == net.config


def test_one_flipped_byte_is_found(folder):
    data = bytearray((folder / WEIGHTS).read_bytes())
    data[-1000] ^= 1
    (folder / WEIGHTS).write_bytes(data)
    with pytest.raises(ModelError, match="model.safetensors: corrupted"):
        load_model(folder)


def test_truncated_missing_and_foreign_files_are_named(folder):
    description = json.loads((folder / CONFIG).read_text())
    description.pop("sha256")
    (folder / CONFIG).write_text(json.dumps(description))
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:5000])
    with pytest.raises(ModelError, match="model.safetensors: not a readable"):
        load_model(folder)
    (folder / WEIGHTS).unlink()
    with pytest.raises(ModelError, match="model.safetensors: missing"):
        load_model(folder)
    (folder / CONFIG).write_text("{}")
    with pytest.raises(ModelError, match="config.json: not a model"):
        load_model(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("encoder.norm.bias"), "missing encoder.norm.bias"),
        (lambda t: t.update(extra=torch.zeros(1)), "unexpected extra"),
        (lambda t: t.update({"track.weight": torch.zeros(1)}), "unexpected track.weight"),
        (lambda t: t.update({"encoder.norm.bias": torch.zeros(3)}), r"encoder.norm.bias is \(3,\), expected \(128,\)"),
    ],
)
def test_keys_that_do_not_fit_are_listed(folder, change, message):
    rewrite(folder, change)
    with pytest.raises(ModelError, match=message):
        load_model(folder)


@pytest.fixture(scope="module")
def official(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("official") / "da3"
    write_official_folder(folder)
    return folder


@pytest.fixture
def converted(official, tmp_path) -> Path:
    assert main(["models", "convert", str(official), str(tmp_path / "out"), "--shard-size", "1.5MB"]) == 0
    return tmp_path / "out"


@pytest.mark.parametrize("name", ["bfloat16", "float32"])
def test_converted_weights_are_the_same(official, tmp_path, name):
    out, dtype = tmp_path / "out", {"bfloat16": torch.bfloat16, "float32": torch.float32}[name]
    assert main(["models", "convert", str(official), str(out), "--dtype", name]) == 0
    expected, found = load_model(official, dtype=dtype), load_model(out)  # dtype None: as converted
    assert found.config == expected.config
    for (key, a), b in zip(expected.state_dict().items(), found.state_dict().values(), strict=True):
        assert a.dtype == b.dtype and torch.equal(a, b), key
    assert load_model(out, dtype=torch.float32).encoder.blocks[0].attn.qkv.weight.dtype == torch.float32


def test_converted_files_are_sharded_recorded_and_mapped(converted):
    files = {path.name for path in converted.glob("*.safetensors")}
    assert {"dpt.safetensors", "level1-00001-of-00002.safetensors", "statistics.safetensors"} <= files
    description = json.loads((converted / CONFIG).read_text())
    assert description["dtype"] == "bfloat16" and description["files"].keys() == files
    for name, entry in description["files"].items():
        assert entry == {"size": (converted / name).stat().st_size, "sha256": sha256(converted / name)}
        assert entry["size"] < 1.6e6
    net = load_model(converted)
    address = net.level1.blocks[0].attn.qkv.weight.data_ptr()
    maps = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
    spans = [line[0].split("-") for line in maps if str(converted / "level1") in line[-1]]
    assert any(int(start, 16) <= address < int(end, 16) for start, end in spans)


def test_an_interrupted_conversion_continues(official, tmp_path, monkeypatch):
    out, written, write = tmp_path / "out", [], conversion.write_tensors

    def interrupted(path, tensors):
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(path)
        write(path, tensors)

    monkeypatch.setattr(conversion, "write_tensors", interrupted)
    assert main(["models", "convert", str(official), str(out)]) == 130
    with pytest.raises(ModelError, match="no model"):
        load_model(out)
    written[0].write_bytes(b"damaged meanwhile")
    again = []
    monkeypatch.setattr(conversion, "write_tensors", lambda path, tensors: (again.append(path), write(path, tensors)))
    for other in (["--dtype", "float32"], ["--shard-size", "2MB"]):  # another task
        assert main(["models", "convert", str(official), str(out), *other]) == 1
    assert main(["models", "convert", str(official), str(out)]) == 0
    assert written[0] in again and not set(written[1:]) & set(again)
    assert main(["models", "verify", str(out)]) == 0 and not (out / conversion.UNFINISHED).exists()


def test_a_full_disk_ends_a_conversion_before_it_starts(official, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(conversion.shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(ModelError, match="are to be written"):
        conversion.convert(official, tmp_path / "out")


def test_a_model_is_not_overwritten(converted, official, capsys):
    assert main(["models", "convert", str(official), str(converted)]) == 1
    assert "holds a model already" in capsys.readouterr().err
    assert main(["models", "convert", str(official), str(converted / "other"), "--dtype", "bfloat16"]) == 0


@pytest.mark.parametrize("size", ["0MB", "1", "many"])
def test_shard_sizes_are_checked(official, tmp_path, size):
    assert main(["models", "convert", str(official), str(tmp_path / "out"), "--shard-size", size]) == 2


@pytest.mark.parametrize("file", ["encoder.safetensors", "level1-00002-of-00002.safetensors"])
def test_verify_of_a_converted_folder_names_the_culprit(converted, capsys, file):
    assert main(["models", "verify", str(converted)]) == 0
    path = converted / file
    content = bytearray(path.read_bytes())
    content[-9] ^= 4
    path.write_bytes(content)
    assert main(["models", "verify", str(converted)]) == 1
    assert f"{path}: corrupted or incomplete, its sha256" in capsys.readouterr().err
    path.write_bytes(content[:-9])
    assert main(["models", "verify", str(converted)]) == 1
    assert str(path) in capsys.readouterr().err
    path.unlink()
    assert main(["models", "verify", str(converted)]) == 1
    assert f"{path}: missing" in capsys.readouterr().err
    with pytest.raises(ModelError, match=f"{file}: missing"):
        load_model(converted)


def test_a_configuration_that_makes_no_networks_is_named(folder):
    description = json.loads((folder / CONFIG).read_text())
    description["model"]["encoder"]["width"] = "wide"
    (folder / CONFIG).write_text(json.dumps(description))
    with pytest.raises(ModelError, match="no networks can be built from its configuration"):
        load_model(folder)


def test_files_with_the_older_names_of_level_0_load(tmp_path):
    new = load_model(EMBEDDED / "mini")
    old = {re.sub(r"^level0\.", "cascade.", key): value for key, value in new.state_dict().items()}
    write_tensors(tmp_path / WEIGHTS, old)
    text = json.dumps({"model": to_dict(new.config)})
    for name in ("level0_steps", "level0_guidance"):
        text = text.replace(f'"{name}"', f'"{name.replace("level0", "cascade")}"')
    text = text.replace('"level1_channels"', '"cascade_channels"').replace('"level0":', '"cascade":')
    (tmp_path / CONFIG).write_text(text)
    net = load_model(tmp_path)
    assert net.config == new.config
    assert all(torch.equal(value, new.state_dict()[key]) for key, value in net.state_dict().items())
