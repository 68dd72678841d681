# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Folders in the official layout that are subtly wrong: all keys and shapes fit, or nearly, but not the content."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from builders.official_folder import save

from gld_ros.cli import main
from gld_ros.errors import ModelError
from gld_ros.weights.layout import open_folder
from gld_ros.weights.loading import load_model

LEVEL1, LEVEL0 = "checkpoints/vggt_level1.pt", "checkpoints/vggt_cascade.pt"
PATCHES, SPECIAL = (f"model_stats/vggt/{kind}_stats_level1.pt" for kind in ("normalization", "special"))


def exchange(folder: Path, first: str, second: str) -> None:
    (folder / first).rename(folder / "aside")
    (folder / second).rename(folder / first)
    (folder / "aside").rename(folder / second)


def edit(path: Path, **values) -> None:
    save(path, torch.load(path, weights_only=True) | values)


def refused(folder: Path, capsys, *sentences: str) -> None:
    """Neither loading nor `gld models verify` lets the folder pass, and both say why."""
    assert main(["models", "verify", str(folder)]) == 1
    said = capsys.readouterr().err
    with pytest.raises(ModelError) as error:
        load_model(folder)
    assert all(sentence in said for sentence in sentences) and any(s in str(error.value) for s in sentences)


def noticed(folder: Path, capsys, sentence: str) -> None:
    """The folder loads with this warning, and `gld models verify` has it as a note."""
    with pytest.warns(UserWarning, match=re.escape(sentence)):
        load_model(folder)
    assert main(["models", "verify", str(folder)]) == 0
    assert sentence in capsys.readouterr().out


@pytest.mark.parametrize("record", ["SHA256SUMS", "release.json"])
def test_exchanged_stages_are_named(vggt, capsys, record, monkeypatch):
    """Their keys and shapes agree. The published files are too large for a hash at each start, these ones have one."""
    monkeypatch.setattr("gld_ros.weights.verification.QUICK", 0)
    assert main(["models", "verify", str(vggt), "--record"]) == 0
    capsys.readouterr()
    if record == "release.json":
        sums = [line.split() for line in (vggt / "SHA256SUMS").read_text().splitlines()]
        files = {file: {"size": (vggt / file).stat().st_size, "sha256": digest} for digest, file in sums}
        (vggt / record).write_text(json.dumps({"files": files}))
        (vggt / "SHA256SUMS").unlink()
    load_model(vggt)
    exchange(vggt, LEVEL1, LEVEL0)
    refused(vggt, capsys, f"{vggt / LEVEL1}: its content is that of {LEVEL0} in {record}")


def test_stages_without_a_record_are_a_notice(vggt, da3, capsys):
    noticed(vggt, capsys, f"{LEVEL1} and {LEVEL0} have the same keys and shapes, and no hash of theirs is recorded")
    assert not open_folder(da3).interchangeable


def test_one_stage_under_both_names(vggt, capsys):
    shutil.copy(vggt / LEVEL1, vggt / LEVEL0)
    refused(vggt, capsys, f"{LEVEL1} and {LEVEL0} hold the same weights, expected two stages")


def test_statistics_that_contradict_themselves(vggt, capsys):
    content = torch.load(vggt / PATCHES, weights_only=True)
    edit(vggt / PATCHES, std=content["std"] * 1.1)
    refused(vggt, capsys, f"{vggt / PATCHES}: std is not the root of var")
    edit(vggt / PATCHES, **content | {"mean": content["var"], "var": content["mean"].abs()})
    refused(vggt, capsys, f"{vggt / PATCHES}: mean and var are exchanged")
    edit(vggt / PATCHES, **content | {"level": 0})
    refused(vggt, capsys, f"{vggt / PATCHES}: is of level 0, expected 1")


def test_exchanged_statistics_of_patches_and_special_tokens(vggt, capsys):
    exchange(vggt, PATCHES, SPECIAL)
    refused(vggt, capsys, "normalization_stats_level1.pt and special_stats_level1.pt are exchanged")


def test_the_prefix_of_parallel_training_is_left_out(da3):
    path = da3 / "checkpoints/da3_level1.pt"
    weights = torch.load(path, weights_only=True)["ema"]
    save(path, {"ema": {f"module.{key}": tensor for key, tensor in weights.items()}})
    assert all(torch.equal(tensor, weights[key]) for key, tensor in load_model(da3).level1.state_dict().items())
    save(path, {"ema": {f"module.{key}" if "blocks" in key else key: tensor for key, tensor in weights.items()}})
    with pytest.raises(ModelError, match="missing blocks.0.norm1.weight"):
        load_model(da3)


def test_a_second_rgb_decoder_is_a_notice(da3, capsys, recwarn):
    first, second = "pretrained_models/mae_decoder.pt", "pretrained_models/da3/mae_decoder.pt"
    shutil.copy(da3 / first, da3 / second)
    load_model(da3)
    assert not recwarn
    weights = torch.load(da3 / second, weights_only=True)["ema"]
    weights["decoder.decoder_norm.weight"] += 1
    save(da3 / second, {"ema": weights})
    noticed(da3, capsys, f"{second} is unread: {first} is taken, and the two are not the same")


def test_half_precision_is_a_notice(da3, capsys):
    path = da3 / "checkpoints/da3_level1.pt"
    weights = torch.load(path, weights_only=True)["ema"]
    save(path, {"ema": {key: tensor.half() for key, tensor in weights.items()}})
    noticed(da3, capsys, "checkpoints/da3_level1.pt is stored in float16")


LIMITED = """
import resource, sys
import gld_ros.weights.verification
from gld_ros.cli import main
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (200 << 20), used + (200 << 20)))
sys.exit(main(["models", "verify", sys.argv[1]]))
"""


@pytest.mark.parametrize("file", ["checkpoints/da3_level1.pt", "pretrained_models/da3/model.safetensors"])
def test_a_file_larger_than_the_memory(da3, file):
    """A sparse file of 1 GB where 200 MB are left."""
    path = da3 / file
    if path.suffix == ".pt":
        save(path, {"ema": {"weight": torch.zeros(1 << 28)}})
    else:
        header = json.dumps({"weight": {"dtype": "F32", "shape": [1 << 28], "data_offsets": [0, 1 << 30]}}).encode()
        with path.open("wb") as opened:
            opened.write(len(header).to_bytes(8, "little") + header)
            opened.truncate(8 + len(header) + (1 << 30))
    done = subprocess.run([sys.executable, "-c", LIMITED, str(da3)], capture_output=True, text=True, timeout=100)
    assert done.returncode == 1 and f"{path}: 1.07 GB, more than this machine can map now" in done.stderr
    assert "Traceback" not in done.stderr
