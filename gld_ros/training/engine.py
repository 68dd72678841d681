# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""One loop for every stage: mixed precision, several processes, averaging, checkpoints, interruption, records."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.utils import GradientAccumulationPlugin, broadcast_object_list
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor
from tqdm import tqdm

from gld_ros.errors import InvalidRequest, ModelError
from gld_ros.reports.provenance import git_revision
from gld_ros.training import checkpoint
from gld_ros.training.checkpoint import Progress
from gld_ros.training.config import TrainConfig, differences, plain
from gld_ros.training.optimizer import Average, optimizers, rate_factor, trained
from gld_ros.training.records import Records
from gld_ros.training.stage import Stage, TrainingData, total


class Interrupted(BaseException):
    """A signal came between two steps, or while data were waited for."""


class Engine:
    """Trains a stage in `folder`, going on from the newest checkpoint there.

    Works alone and under `accelerate launch` (DDP, FSDP 2; CPU, GPU). Raises InvalidRequest where the checkpoint is of
    another configuration, and ModelError where it cannot be read.
    """

    def __init__(self, stage: Stage, config: TrainConfig, folder: Path):
        self.config, self.folder, self.stage = config, folder, stage
        kwargs = DistributedDataParallelKwargs(find_unused_parameters=stage.has_unused_parameters)
        self.accelerator = Accelerator(
            cpu=config.device == "cpu" or (config.device == "auto" and not torch.accelerator.is_available()),
            gradient_accumulation_plugin=GradientAccumulationPlugin(config.accumulation, sync_with_dataloader=False),
            kwargs_handlers=[kwargs],
        )
        if config.device == "cuda" and self.accelerator.device.type != "cuda":
            raise InvalidRequest("device is 'cuda', but torch finds none")
        launched = int(os.environ.get("WORLD_SIZE", 1))
        if launched != self.accelerator.num_processes:
            raise InvalidRequest(f"{launched} processes were launched, but they do not find each other on this device")
        self.step = self.micro = self.skipped = 0
        self._bad_in_a_row = 0
        self._asked = False  # this process, by a signal
        self._stop = False  # agreed by all processes
        self._waiting = False
        self._sample: Any = None
        self._found = self._newest()
        stage.to(self.accelerator.device)

    @property
    def finished(self) -> bool:
        return self.step >= self.config.steps

    @property
    def is_main(self) -> bool:
        """True in the process that writes."""
        return self.accelerator.is_main_process

    @property
    def _alone(self) -> bool:
        """True if it may stop at once: several processes have to stop at the same step."""
        return self.accelerator.num_processes == 1

    def fit(self, data: TrainingData) -> bool:
        """Train up to `config.steps`, then leave the averaged weights in the stage.

        Returns False where SIGTERM or SIGINT came before the end: the run is saved then, and the same call goes on.
        Raises ModelError where too many steps in a row have no finite gradient, or a checkpoint cannot be saved.
        """
        if self._found is None:
            self._seed(-1)
            self.stage.prepare(self._batches(data))
        self._build()
        if not self.finished:
            with self._signals():
                self._run(data)
        if self.finished:
            self.average.swap()
        return self.finished

    def _build(self) -> None:
        """Wrap the stage for this machine, make optimisers and average, and fill them from the checkpoint."""
        made = optimizers(self.stage, self.config.optimizer)
        self.model, *prepared = self.accelerator.prepare(self.stage, *made.values())
        self.optimizers = dict(zip(made, prepared, strict=True))
        self.stage = self.accelerator.unwrap_model(self.model, keep_torch_compile=False)
        self.average = Average(self.stage, self.config.optimizer)
        if self._found is not None:
            checkpoint.restore(*self._found, self.stage, self.average, self._states())
            self._found = None

    def _run(self, data: TrainingData) -> None:
        accelerator, config = self.accelerator, self.config
        batches = self._batches(data, self.micro, accelerator.process_index, accelerator.num_processes)
        main = self.is_main
        records = Records(self.folder, self.step) if main else None
        bar = tqdm(total=config.steps, initial=self.step, desc=config.stage, disable=None if main else True)
        try:
            while not self.finished and not self._stop:
                started = time.monotonic()
                try:
                    losses, norm = self._advance(batches)
                except Interrupted:
                    self._give_up_step()
                    break
                bar.update()
                if records is not None:
                    bar.set_postfix(loss=f"{losses['loss']:.4g}")
                    seconds = time.monotonic() - started
                    records.write(self.step, losses | {"gradient": norm, "rate": self._rate(), "seconds": seconds})
                if self.step % config.save_every == 0 or self.finished or self._stop:
                    self.save()
                if config.sample_every and (self.step % config.sample_every == 0 or self.finished):
                    self._draw_sheet(data, records)
        finally:
            bar.close()
            if records is not None:
                records.close()

    def _advance(self, batches: Iterator[Any]) -> tuple[dict[str, float], float]:
        """One optimiser step over all micro steps. Returns the mean losses of all processes and the gradient's norm."""
        if self._asked and self._alone:
            raise Interrupted  # it came after the step before had been counted
        self.stage.step = self.step
        self.model.train()
        sums: dict[str, Tensor] = {}
        for _ in range(self.config.accumulation):
            # Gradients of all processes are joined in the last micro step only, and each counts 1 / accumulation.
            with self.accelerator.accumulate(self.model):
                batch = self._next(batches)
                self._seed(self.micro * self.accelerator.num_processes + self.accelerator.process_index)
                with self._autocast():
                    losses = self.model(batch)
                self.accelerator.backward(total(losses))
            self.micro += 1
            for name, value in losses.items():
                sums[name] = sums.get(name, 0) + value.detach().float() / self.config.accumulation
        norm = self._clip()
        means = self._mean(sums | {"loss": total(sums)})
        self.step += 1
        if np.isfinite(norm) and np.isfinite(means["loss"]):
            for optimizer in self.optimizers.values():
                for group in optimizer.param_groups:
                    group["lr"] = self._rate()
                optimizer.step()
            self.average.update(self.step)
            self._bad_in_a_row = 0
        else:
            self._skip(means, norm)
        self._forget_gradients()
        return means, norm

    def _forget_gradients(self) -> None:
        for optimizer in self.optimizers.values():
            optimizer.zero_grad(set_to_none=True)

    def _states(self) -> dict[str, Any]:
        """The state of each optimiser by its name: what it holds of every parameter."""
        return {name: optimizer.optimizer.state for name, optimizer in self.optimizers.items()}

    def _next(self, batches: Iterator[Any]) -> Any:
        self._waiting = self._alone
        try:
            return next(batches)
        finally:
            self._waiting = False

    def _give_up_step(self) -> None:
        """Forget the micro steps of a step that still waited for data, and save what was reached before."""
        self._forget_gradients()
        self.micro = self.step * self.config.accumulation
        if self.step:
            self.save()

    def _clip(self) -> float:
        """Norm of the gradient of all processes, before it is clipped."""
        limit = self.config.optimizer.clip or float("inf")
        norm = torch.nn.utils.clip_grad_norm_([p for _, p in trained(self.stage)], limit)
        return float(norm.full_tensor() if isinstance(norm, DTensor) else norm)

    def _skip(self, losses: dict[str, float], norm: float) -> None:
        """Count a step whose gradient is not finite; the same on all processes."""
        self.skipped += 1
        self._bad_in_a_row += 1
        if self._bad_in_a_row >= self.config.bad_steps:
            found = checkpoint.latest(self.folder)
            raise ModelError(
                f"step {self.step}: no finite gradient in {self._bad_in_a_row} steps in a row (norm {norm}, losses "
                f"{losses}); the newest checkpoint is {found or 'none'}. A lower optimizer.learning_rate, a longer "
                "optimizer.warmup or precision=fp32 may help"
            )

    def _rate(self) -> float:
        """Learning rate of the step that was begun last."""
        options = self.config.optimizer
        return options.learning_rate * rate_factor(max(self.step - 1, 0), self.config.steps, options)

    def _mean(self, values: dict[str, Tensor]) -> dict[str, float]:
        """Means over the processes; any process that was asked to stop makes all of them stop."""
        vector = torch.stack([*values.values(), values["loss"].new_tensor(float(self._asked))])
        vector = self.accelerator.reduce(vector, reduction="mean")
        *means, stop = vector.tolist()
        self._stop = stop > 0
        return dict(zip(values, means, strict=True))

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.accelerator.device.type, torch.bfloat16, enabled=self.config.precision == "bf16")

    def _seed(self, micro: int) -> None:
        """Seed for one micro step of one process: no state of a generator has to be kept."""
        seed = np.random.SeedSequence([self.config.seed, micro + 1]).generate_state(1, np.uint64)[0]
        torch.manual_seed(int(seed))

    def _batches(self, data: TrainingData, *position: int) -> Iterator[Any]:
        """Batches on this process's device; loading begins with the first."""
        for batch in data.batches(*position or (0,)):
            yield batch.to(self.accelerator.device)

    def _draw_sheet(self, data: TrainingData, records: Records | None) -> None:
        """A picture of the averaged model's work, always on the first batch of the stream."""
        self._seed(-1)
        if self._sample is None:
            self._sample = next(self._batches(data))
        self.model.eval()
        with self.average.applied(), torch.no_grad(), self._autocast():
            picture = self.model(self._sample, "sheet")
            for module in self.model.modules():
                if isinstance(module, FSDPModule):  # without a backward pass it stays whole
                    module.reshard()
        if picture is not None and records is not None:
            records.picture(self.step, picture)

    def save(self) -> None:
        """Write a checkpoint; all processes have to call this."""
        tensors = checkpoint.collected(self.stage, self.average, self._states())
        progress = Progress(
            step=self.step,
            micro=self.micro,
            skipped=self.skipped,
            processes=self.accelerator.num_processes,
            config=plain(self.config),
            revision=git_revision(),
        )
        if self.is_main:
            checkpoint.write(self.folder, tensors, progress, self.config.keep)
        self.accelerator.wait_for_everyone()

    def _newest(self) -> tuple[Path, dict[str, Tensor]] | None:
        """The newest checkpoint, the same for all processes; InvalidRequest where it is of another run."""
        paths = [checkpoint.latest(self.folder)]
        broadcast_object_list(paths)
        if (path := paths[0]) is None:
            return None
        tensors, progress = checkpoint.read(path)
        problems = differences(progress.config, self.config)
        if progress.processes != self.accelerator.num_processes:
            problems.append(f"processes: {progress.processes}, now {self.accelerator.num_processes}")
        if problems:
            raise InvalidRequest(
                f"{path} is of another configuration ({'; '.join(problems)}): set these back, or give another --run"
            )
        self.step, self.micro, self.skipped = progress.step, progress.micro, progress.skipped
        return path, tensors

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGTERM and SIGINT end the run after the current step, or while it waits for data; a second one at once."""

        def stop(number: int, _: Any) -> None:
            self._asked = True
            signal.signal(number, previous[number])
            if self._waiting:
                raise Interrupted

        previous: dict[int, Any] = {}
        for number in (signal.SIGTERM, signal.SIGINT):
            previous[int(number)] = signal.signal(number, stop)
        try:
            yield
        finally:
            for restored, handler in previous.items():
                signal.signal(restored, handler)
