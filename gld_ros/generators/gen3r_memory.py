# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The memory that a Gen3R takes by stage, estimated before anything is loaded.

The method itself runs on the meta device, where tensors have shapes and no content, and every tensor that is alive is
counted. A stage is the components that are at work together. What is not counted: the scratch memory inside one
operation, and what CUDA keeps for itself.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from gld_ros.diffusion.sampler import Sampling
from gld_ros.generators.devices import has_bfloat16
from gld_ros.generators.gen3r import JointDiffusion
from gld_ros.generators.request import Loading
from gld_ros.networks.gen3r.configs import Gen3RConfig
from gld_ros.networks.gen3r.model import Gen3RNetworks
from gld_ros.networks.gen3r.transformer import evaluation_flops
from gld_ros.networks.gld import stored_dtype
from gld_ros.weights.folder import on_meta
from gld_ros.weights.layout import DTYPES
from gld_ros.weights.memory import MemoryEstimate, check_fits

META = torch.device("meta")
#: Blocks of the transformer that are run: all need the same.
BLOCKS = 2
#: Parameters of models that are loaded without asking how much memory there is.
SMALL = 50_000_000
#: Outputs of CLIP's projection, which is in the folder beside the image tower and is not read, as VGGT's mask token.
IMAGE_PROJECTION = 1024
aten = torch.ops.aten
#: As CUDA's autocast has it: operations that round their arguments, and operations in float32.
ROUNDED = {
    *(aten.linear, aten.matmul, aten.addmm, aten.mm, aten.bmm, aten.baddbmm, aten.scaled_dot_product_attention),
    *(aten.conv1d, aten.conv2d, aten.conv3d, aten.conv_transpose2d, aten.convolution),
}
EXACT = {
    *(aten.layer_norm, aten.native_layer_norm, aten.rms_norm, aten._fused_rms_norm, aten.linalg_vector_norm),
    *(aten.softmax, aten._softmax, aten.pow, aten.exp),
}
#: Operations that are one kernel, though torch can take them apart.
WHOLE = {aten.upsample_bilinear2d, aten.upsample_bicubic2d, aten.upsample_nearest2d, aten._upsample_nearest_exact2d}


def estimate(
    config: Gen3RConfig,
    dtype: torch.dtype = torch.bfloat16,
    size: tuple[int, int] | None = None,
    frames: int | None = None,
    offload: bool = False,
    device: str = "cuda",
) -> MemoryEstimate:
    """Memory of a clip of `frames` images of (H, W), by default the model's, from two images and with cameras and
    guidance. The text encoder is not in it: prompts have their states (weights/text_states.py).

    device: "cpu" or "cuda"; with `offload` the weights wait in main memory.
    """
    size, frames = size or (config.size, config.size), frames or config.frames
    net = on_meta(config)
    net.text = None
    weights = stored_bytes(net, dtype)
    written_out = device == "cpu" and dtype == torch.bfloat16
    return MemoryEstimate(weights, needed(net, Ledger(dtype, written_out), size, frames), offload)


def check_memory(config: Gen3RConfig, loading: Loading) -> None:
    """Raise OutOfMemory with the estimate where the device cannot hold the model at work; small ones fit everywhere."""
    dtype, device = weights_dtype(loading), loading.device
    if sum(p.numel() for p in on_meta(config).parameters()) > SMALL:
        check_fits(estimate(config, dtype, offload=bool(loading.offload), device=device.type), device)


def weights_dtype(loading: Loading) -> torch.dtype:
    """The dtype of the weights: as asked, else the fastest."""
    return loading.dtype or (torch.bfloat16 if has_bfloat16(loading.device) else torch.float32)


def describe(config: Gen3RConfig) -> dict[str, Any]:
    """Counts as published, bytes of the weights, FLOPs of sampling and memory by stage in bfloat16, as plain JSON
    values, for `gld models info`."""
    found = estimate(config, offload=True)
    net = on_meta(config)
    counts = {name: sum(p.numel() for p in child.parameters()) for name, child in net.named_children()}
    unread = {"image": config.image.width * IMAGE_PROJECTION, "vggt": config.encoder.width}
    counts["vggt"] = counts.pop("encoder") + counts.pop("heads")
    counts = {name: count + unread.get(name, 0) for name, count in counts.items()}
    flops = evaluation_flops(config.transformer, config.frames, (config.size, config.size))
    stages = [
        {"stage": stage or "none", "weights": size - found.activations[stage], "activations": found.activations[stage]}
        for stage, size in found.stages.items()
    ]
    return {
        "model": config.name,
        "parameters": counts,
        "unread": unread,
        "total": sum(counts.values()),
        "weights": {name: sum(stored_bytes(net, dtype).values()) for name, dtype in DTYPES.items()},
        "request": {"frames": config.frames, "size": [config.size, config.size], "dtype": "bfloat16"},
        "stages": stages,
        "sampling": [{"size": (config.size, config.size), "views": config.frames, "flops": config.steps * flops}],
        "peak": {"sequential": found.peak, "none": sum(found.weights.values()) + max(found.activations.values())},
    }


def stored_bytes(net: nn.Module, dtype: torch.dtype) -> dict[str, int]:
    """Bytes of the weights of every component, kept in `dtype`."""
    return {
        name: sum(p.numel() * stored_dtype(key, p, dtype).itemsize for key, p in child.named_parameters())
        for name, child in net.named_children()
    }


@torch.inference_mode()
def needed(net: Gen3RNetworks, ledger: Ledger, size: tuple[int, int], frames: int) -> dict[str, int]:
    """Most bytes of tensors beside the weights, by stage; the networks are on the meta device."""
    net.transformer.blocks = net.transformer.blocks[:BLOCKS]
    for component in net.children():
        for key, parameter in [*component.named_parameters()]:
            place, _, name = key.rpartition(".")
            stored = parameter.detach().to(stored_dtype(key, parameter, ledger.dtype))
            setattr(component.get_submodule(place), name, nn.Parameter(stored, requires_grad=False))
    ledger.leave_out([*net.parameters(), *net.buffers()])
    method = Shapes(net, ledger)
    with ledger:
        images = torch.zeros(1, 2, 3, *size, device=META)
        method.geometry(images)
        given = method.encode(images, frames)
        cameras = torch.eye(3).repeat(frames, 1, 1), torch.eye(4).repeat(frames, 1, 1)
        text = torch.zeros(net.config.transformer.text_rows, net.config.transformer.text_width, device=META)
        sampling = Sampling(1, net.config.guidance_scale)
        method.decode(method.sample(given, (text, text), cameras, sampling, method.noise(size, frames, seed=0)))
    return ledger.most


class Shapes(JointDiffusion):
    """The method on tensors without content."""

    def __init__(self, net: Gen3RNetworks, ledger: Ledger):
        super().__init__(net, Loading(device=META, dtype=ledger.dtype))
        self.residency = ledger  # type: ignore[assignment]  # what is at work is all that is asked of it

    def autocast(self) -> AbstractContextManager:
        return nullcontext()


class Ledger(TorchDispatchMode):
    """Counts the bytes of meta tensors that are alive while components are at work. dtype: of autocast; written_out:
    attention makes its (T, T) matrices (`layers.attend`)."""

    def __init__(self, dtype: torch.dtype, written_out: bool):
        super().__init__()
        self.dtype, self.written_out, self.now, self.stage = dtype, written_out, 0, ""
        #: Stage, as in "adapter+heads" -> most bytes.
        self.most: dict[str, int] = {}
        self._weights: list[Tensor] = []
        self._known: dict[int, int] = {}

    def leave_out(self, weights: list[Tensor]) -> None:
        """Do not count these tensors."""
        self._weights = weights  # alive, so that nothing else gets their ids
        self._known |= {id(tensor.untyped_storage()): 0 for tensor in weights}

    @contextmanager
    def at_work(self, name: str) -> Iterator[None]:
        """As `Residency.at_work`."""
        before, self.stage = self.stage, f"{self.stage}+{name}".lstrip("+")
        self._note()
        try:
            yield
        finally:
            self.stage = before

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, kind = kwargs or {}, func.overloadpacket
        if self.dtype != torch.float32 and kind in ROUNDED | EXACT:
            args, kwargs = tree_map_only(
                Tensor, lambda x: self._cast(x, self.dtype if kind in ROUNDED else torch.float32), (args, kwargs)
            )
        if kind is aten.scaled_dot_product_attention:
            q, k = args[:2]
            matrices = [self._counted(q.new_empty(*q.shape[:-1], k.shape[-2])) for _ in range(2 * self.written_out)]
            del matrices
            return self._counted(torch.empty_like(q))
        if kind not in WHOLE:
            with self:
                if (out := func.decompose(*args, **kwargs)) is not NotImplemented:
                    return out
        return tree_map_only(Tensor, self._counted, func(*args, **kwargs))

    def _cast(self, tensor: Tensor, dtype: torch.dtype) -> Tensor:
        return self._counted(tensor.to(dtype)) if tensor.is_floating_point() else tensor

    def _counted(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if tensor.is_meta and id(storage) not in self._known:
            self._known[id(storage)] = storage.nbytes()
            self.now += storage.nbytes()
            weakref.finalize(storage, self._gone, id(storage))
            self._note()
        return tensor

    def _gone(self, storage: int) -> None:
        self.now -= self._known.pop(storage)

    def _note(self) -> None:
        self.most[self.stage] = max(self.most.get(self.stage, 0), self.now)
