"""Models on disk: strict, checksummed, errors that name the file and the key."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from gld_ros.errors import ModelError
from gld_ros.models.checkpoints import CONFIG, EMBEDDED, WEIGHTS, load_model, model_folder, save_model, sha256
from gld_ros.pipeline import GLDPipeline


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


def test_the_embedded_model_is_small_and_loads():
    assert sum(f.stat().st_size for f in (EMBEDDED / "mini").iterdir()) <= 20e6
    assert GLDPipeline.from_pretrained("mini", device="cpu").name == "mini"


def test_saved_is_loaded_again(folder, tmp_path):
    net = load_model(folder)
    save_model(tmp_path / "copy", net)
    again = load_model(tmp_path / "copy")
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), again.state_dict().values(), strict=True))
    assert again.config == net.config


def test_unknown_names_say_what_is_known(tmp_path):
    with pytest.raises(ModelError, match="'nowhere'.*mini"):
        model_folder("nowhere")


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
        (lambda t: t.update({"encoder.norm.bias": torch.zeros(3)}), r"encoder.norm.bias is \(3,\), expected \(128,\)"),
    ],
)
def test_keys_that_do_not_fit_are_listed(folder, change, message):
    rewrite(folder, change)
    with pytest.raises(ModelError, match=message):
        load_model(folder)
