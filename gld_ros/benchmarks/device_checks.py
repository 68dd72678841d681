# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of one model on a device: every way to run it gives what the plain way gives, and it survives a full memory.

Run in a process of its own: `python -m gld_ros.benchmarks.device_checks MODEL DEVICE OUT [--small]`.
"""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gld_ros.benchmarks.requests import Shape, wall_tensors
from gld_ros.diffusion.sampler import Runner
from gld_ros.errors import GLDError, OutOfMemory
from gld_ros.files import write_text
from gld_ros.generators.gld_family import GLD
from gld_ros.pipeline.pipeline import GLDPipeline
from gld_ros.reports.pages import markdown

STEPS = 2
#: More than any memory and any address space, bytes.
TOO_MUCH = 1 << 50
EXACT, NEAR = 1e-4, 5e-3  # largest difference of images of range 1: the same sums; sums in another order
BFLOAT16_DB, QUANTIZED_DB = 25.0, 20.0  # of random weights, which are no smoother than noise


class Checks:
    """The image of a plain float32 request, and those of the other ways beside it."""

    def __init__(self, folder: Path, device: str, small: bool) -> None:
        # As it stands in the oracle tests: float32 means float32.
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        self.folder, self.device, self.small = folder, torch.device(device), small
        self.shape = Shape(2, 1, (42, 56) if small else (168, 224))
        self.plain = self.image(self.model("float32"))
        if not bool(torch.isfinite(self.plain).all()):
            raise GLDError("the image of a plain float32 request is not finite")

    def model(self, dtype: str, **options: Any) -> GLD:
        pipe = GLDPipeline.from_pretrained(self.folder, str(self.device), dtype, local_files_only=True, **options)
        return GLD.of(pipe.generator)

    def image(self, model: GLD) -> Tensor:
        """Float32 on the host. The second of two requests: compiled networks are recorded by then."""
        for _ in range(2):
            made = model.generate_tensors(*wall_tensors(self.shape, self.device), steps=STEPS)
        return made.image.float().cpu()

    def same(self, image: Tensor, most: float) -> dict[str, Any]:
        error = float((image - self.plain).abs().max())
        return {"ok": error <= most, "figure": f"largest difference {error:.1e}, allowed {most:.0e}"}

    def like(self, image: Tensor, least: float) -> dict[str, Any]:
        psnr = float(-10 * (image.clamp(0, 1) - self.plain.clamp(0, 1)).square().mean().clamp_min(1e-12).log10())
        return {"ok": psnr >= least, "figure": f"{psnr:.1f} dB to float32, at least {least:.0f}"}

    def again(self) -> dict[str, Any]:
        return self.same(self.image(self.model("float32")), EXACT)

    def branches(self) -> dict[str, Any]:
        """Guidance as one call if it is two by default, and the other way round."""
        model = self.model("float32")
        model.diffusion.runner = Runner(self.device, joined=not model.diffusion.runner.joined)
        return self.same(self.image(model), NEAR)

    def bfloat16(self) -> dict[str, Any]:
        return self.like(self.image(self.model("bfloat16")), BFLOAT16_DB)

    def offload(self) -> dict[str, Any]:
        return self.same(self.image(self.model("float32", offload="sequential")), EXACT)

    def full_memory(self) -> dict[str, Any]:
        """The decoder asks for too much in the middle of a request; then the same request is made again."""
        model = self.model("float32")

        def too_much(module: torch.nn.Module, args: tuple) -> None:
            torch.empty(TOO_MUCH, dtype=torch.uint8, device=self.device)

        hook = model.net.rgb.register_forward_pre_hook(too_much)
        try:
            self.image(model)
        except OutOfMemory:
            pass
        else:
            return {"ok": False, "figure": "too much memory was given"}
        finally:
            hook.remove()
        return self.same(self.image(model), EXACT)

    def compiled(self) -> dict[str, Any]:
        model = self.model("float32", compile=True)
        if self.small:  # a compiler takes half a minute for the smallest network
            model.diffusion.runner = Runner(self.device, compiled=True, backend="eager")
        return self.same(self.image(model), NEAR)

    def int8(self) -> dict[str, Any]:
        return self.like(self.image(self.model("bfloat16", quantize="int8")), QUANTIZED_DB)

    def fp8(self) -> dict[str, Any]:
        return self.like(self.image(self.model("bfloat16", quantize="fp8")), QUANTIZED_DB)


#: In this order: quick ones first.
ALL: dict[str, Callable[[Checks], dict[str, Any]]] = {
    "the same request again": Checks.again,
    "guidance in one call and in two": Checks.branches,
    "bfloat16": Checks.bfloat16,
    "offload": Checks.offload,
    "out of memory, then the same request": Checks.full_memory,
    "int8 weights": Checks.int8,
    "fp8 weights": Checks.fp8,
    "compiled": Checks.compiled,
}


def table(report: dict[str, Any]) -> str:
    """One line a check."""
    return markdown(["check", "result"], [[row["check"], verdict(row)] for row in report["checks"]])


def verdict(row: dict[str, Any]) -> str:
    return f"{'ok' if row['ok'] else 'FAILED'}: {row['figure']}"


def run(folder: Path, device: str, out: Path, small: bool) -> bool:
    """All checks; report.json and table.md in `out` are whole after each. Returns True if all are ok."""
    checks, rows = Checks(folder, device, small), []
    for name, check in ALL.items():
        try:
            row = check(checks)
        except Exception as error:  # it says so; the others are checked nevertheless
            row = {"ok": False, "figure": f"{type(error).__name__}: {error}".splitlines()[0]}
        rows.append({"check": name, **row})
        print(name, verdict(row), flush=True)
        write_text(out / "report.json", json.dumps({"checks": rows}, indent=1) + "\n")
        write_text(out / "table.md", table({"checks": rows}) + "\n")
        gc.collect()
        if checks.device.type == "cuda":
            torch.cuda.empty_cache()
    return all(row["ok"] for row in rows)


if __name__ == "__main__":
    model, device, out, *rest = sys.argv[1:]
    raise SystemExit(not run(Path(model), device, Path(out), "--small" in rest))
