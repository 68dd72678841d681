"""Models on disk: a folder with config.json and model.safetensors, checksummed, loaded strictly."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from gld_ros.errors import ModelError
from gld_ros.models.configs import ModelConfig, from_dict, to_dict
from gld_ros.models.gld import GLDNetworks

EMBEDDED = Path(__file__).parent / "weights"
WEIGHTS, CONFIG = "model.safetensors", "config.json"


def model_folder(name: str) -> Path:
    """The folder of an embedded model's name ("mini") or of a path; ModelError where there is none."""
    for folder in (EMBEDDED / name, Path(name).expanduser()):
        if (folder / CONFIG).is_file():
            return folder
    known = sorted(p.name for p in EMBEDDED.iterdir() if p.is_dir()) if EMBEDDED.is_dir() else []
    raise ModelError(f"model '{name}': no folder with a {CONFIG}; expected a path to one or one of {known}")


def save_model(folder: Path, net: GLDNetworks, dtype: torch.dtype = torch.float16) -> None:
    """Write weights and config; each file appears whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / WEIGHTS
    tensors = {k: v.detach().to("cpu", dtype).contiguous() for k, v in net.state_dict().items()}
    temporary = weights.with_suffix(".tmp")
    save_file(tensors, temporary)
    temporary.chmod(0o644)  # safetensors writes for its owner alone
    os.replace(temporary, weights)
    config = {"model": to_dict(net.config), "sha256": {WEIGHTS: sha256(weights)}}
    temporary = folder / "config.tmp"
    temporary.write_text(json.dumps(config, indent=1) + "\n")
    os.replace(temporary, folder / CONFIG)


def load_model(folder: Path, device: torch.device | str = "cpu") -> GLDNetworks:
    """The networks of a folder in float32, in eval mode; ModelError names the file, and the keys, that are wrong."""
    try:
        description = json.loads((folder / CONFIG).read_text())
        config = from_dict(ModelConfig, description["model"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{folder / CONFIG}: not a model description ({error})") from error
    path = folder / WEIGHTS
    if not path.is_file():
        raise ModelError(f"{path}: missing")
    expected = description.get("sha256", {}).get(WEIGHTS)
    if expected and sha256(path) != expected:
        raise ModelError(f"{path}: corrupted or incomplete, its sha256 is not the {expected[:12]}... of {CONFIG}")
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path}: not a readable safetensors file ({error})") from error
    net = GLDNetworks(config)
    check_keys(net, tensors, path)
    net.load_state_dict({k: v.float() for k, v in tensors.items()}, strict=True)
    return net.to(device).eval().requires_grad_(False)


def check_keys(net: torch.nn.Module, tensors: dict[str, torch.Tensor], path: Path) -> None:
    """Raise ModelError that lists missing, unexpected and mis-shaped keys."""
    wanted = net.state_dict()
    problems = [f"missing {k}" for k in wanted if k not in tensors]
    problems += [f"unexpected {k}" for k in tensors if k not in wanted]
    problems += [
        f"{k} is {tuple(tensors[k].shape)}, expected {tuple(wanted[k].shape)}"
        for k in wanted
        if k in tensors and tensors[k].shape != wanted[k].shape
    ]
    if problems:
        shown = "; ".join(problems[:8]) + (f"; and {len(problems) - 8} more" if len(problems) > 8 else "")
        raise ModelError(f"{path}: {len(problems)} keys do not fit: {shown}")


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
