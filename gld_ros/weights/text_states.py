# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""States of prompts for Gen3R: the text encoder works once a prompt, and its states are kept in the model's folder.

They are some kilobytes; the encoder is 11 GB. A folder with the states it needs works without the encoder.
"""

from __future__ import annotations

import hashlib
import shutil
import warnings
from pathlib import Path

import torch
from torch import Tensor

from gld_ros.errors import InvalidRequest, ModelError
from gld_ros.extras import require
from gld_ros.networks.gen3r.configs import Gen3RConfig
from gld_ros.networks.gen3r.model import Gen3RNetworks
from gld_ros.weights.folder import component_names, on_meta
from gld_ros.weights.gen3r_layout import STATES
from gld_ros.weights.layout import open_folder
from gld_ros.weights.loading import load_networks
from gld_ros.weights.tensor_files import read_tensors, write_tensors

TOKENIZER = "tokenizer"


def states_file(folder: Path, prompt: str) -> Path:
    """The file of a prompt's states."""
    return folder / STATES / f"{hashlib.sha256(prompt.encode()).hexdigest()[:16]}.safetensors"


def copy_prompts(source: Path, to: Path) -> None:
    """Copy a model's tokenizer and the states that are kept of prompts, where it has them."""
    for name in (TOKENIZER, STATES):
        if (source / name).is_dir():
            shutil.copytree(source / name, to / name, dirs_exist_ok=True)


class TextStates:
    """The states (T, width) float32 of prompts for the model of a folder, computed where they are not kept."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._known: dict[str, Tensor] = {}

    def __call__(self, prompt: str) -> Tensor:
        """Raises InvalidRequest for a prompt of too many tokens; ModelError where the states are not kept and there is
        no encoder, or no place to keep them."""
        if prompt not in self._known:
            path = states_file(self.folder, prompt)
            if not path.is_file():
                write_tensors(path, {"states": self._computed(prompt)})
            self._known[prompt] = read_tensors(path)["states"].clone()
        return self._known[prompt]

    @torch.inference_mode()
    def _computed(self, prompt: str) -> Tensor:
        folder = open_folder(self.folder)
        config: Gen3RConfig = folder.config
        if not any(component.name == "text" for component in folder.components):
            raise ModelError(
                f"{self.folder}: the states of the prompt '{prompt}' are not kept, and there is no text encoder to "
                "compute them"
            )
        ids = self._ids(prompt, config.transformer.text_rows)
        warnings.warn(f"{self.folder}: the text encoder is loaded once, for the prompt '{prompt}'", stacklevel=4)
        others = [name for name in component_names(on_meta(config)) if name != "text"]
        net = load_networks(self.folder, dtype=torch.bfloat16, without=others)  # as officially; half the memory
        assert isinstance(net, Gen3RNetworks) and net.text is not None
        with torch.autocast("cpu", torch.bfloat16):
            return net.text(ids).float().contiguous()

    def _ids(self, prompt: str, most: int) -> Tensor:
        """Token ids (T,) of a prompt."""
        require("gen3r", "a prompt", ModelError)
        from transformers import T5Tokenizer  # the fast one, since transformers 5

        try:
            tokenizer = T5Tokenizer.from_pretrained(self.folder / TOKENIZER)
        except (OSError, ValueError) as error:
            raise ModelError(f"{self.folder / TOKENIZER}: not a readable tokenizer ({error})") from error
        ids = tokenizer(prompt).input_ids
        if len(ids) > most:
            raise InvalidRequest(f"a prompt of {len(ids)} tokens, expected at most {most}")
        return torch.tensor(ids)
