"""Loading and saving models: strictly, memory-mapped, one component after the other."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import torch
from torch import Tensor

from gld_ros.errors import ModelError
from gld_ros.models.configs import to_dict
from gld_ros.models.files import sha256, write_tensors, write_text
from gld_ros.models.folder import STATISTICS, ModelFolder, Piece, on_meta
from gld_ros.models.gld import GLDNetworks, stored_dtype
from gld_ros.models.integrity import check_quickly
from gld_ros.models.layout import CONFIG, WEIGHTS, open_folder

EMBEDDED = Path(__file__).parent / "weights"


def model_folder(name: str) -> Path:
    """The folder of an embedded model's name ("mini") or of a path; ModelError where there is none."""
    for folder in (EMBEDDED / name, Path(name).expanduser()):
        if (folder / CONFIG).is_file():
            return folder
    known = sorted(p.name for p in EMBEDDED.iterdir() if p.is_dir()) if EMBEDDED.is_dir() else []
    raise ModelError(f"model '{name}': no folder with a {CONFIG}; expected a path to one or one of {known}")


def load_model(folder: Path, device: torch.device | str = "cpu", dtype: torch.dtype | None = None) -> GLDNetworks:
    """The networks of a folder in the official layout or in ours, frozen, in eval mode.

    dtype: float32 or bfloat16; None: what a converted folder was converted to, else float32. Statistics and tables
    stay float32. Weights that have the dtype already stay memory-mapped on a CPU: the files must outlive the networks.
    Others are converted component by component, the largest first, each source dropped before the next.
    Raises ModelError that lists every missing, unexpected and mis-shaped key and every file that is missing, truncated,
    corrupted (see integrity.py for what is compared here) or has pickled objects in it.
    """
    found = opened(folder)
    net = on_meta(found.config)
    pieces, found.pieces = [piece for piece in found.pieces if piece.unused is None], []
    for piece in sorted(pieces, key=lambda piece: -piece.bytes):
        _fill(net, piece, torch.device(device), dtype or found.dtype)
    return net.eval().requires_grad_(False)


def opened(folder: Path) -> ModelFolder:
    """A folder whose files, keys and shapes are what they should be, before anything of it is loaded."""
    found = open_folder(folder)
    check_quickly(folder, found.files)
    found.check()
    for piece in found.pieces:
        if piece.component == STATISTICS and (wrong := wrong_statistics(piece.tensors)):
            raise ModelError(f"{folder}: {piece.file}: {'; '.join(wrong)}")
    for notice in found.notices:
        warnings.warn(f"{folder}: {notice}", stacklevel=2)
    return found


def wrong_statistics(tensors: dict[str, Tensor]) -> list[str]:
    """Which latent statistics are not finite, or variances not positive."""
    wrong = [f"{key} is not finite" for key, value in tensors.items() if not value.isfinite().all()]
    return wrong + [f"{key} is not positive" for key, value in tensors.items() if "var" in key and (value <= 0).any()]


def _fill(net: GLDNetworks, piece: Piece, device: torch.device, dtype: torch.dtype) -> None:
    """Give a component its tensors, and let go of the source's."""
    component = net if piece.component == STATISTICS else getattr(net, piece.component)
    exact = piece.component == STATISTICS
    state = {}
    for ours in component.state_dict():
        if piece.component == STATISTICS and "." in ours:
            continue
        tensor = piece.tensors.pop(piece.part.key(ours))
        state[ours] = tensor.to(device, stored_dtype(ours, tensor, dtype))
    component.load_state_dict(state, strict=not exact, assign=True)


def save_model(folder: Path, net: GLDNetworks, dtype: torch.dtype = torch.float16) -> None:
    """Write weights and config of a small model, in one file; each file appears whole or not at all."""
    weights = folder / WEIGHTS
    write_tensors(weights, {k: v.detach().to("cpu", dtype).contiguous() for k, v in net.state_dict().items()})
    config = {"model": to_dict(net.config), "sha256": {WEIGHTS: sha256(weights)}}
    write_text(folder / CONFIG, json.dumps(config, indent=1) + "\n")
