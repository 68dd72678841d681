# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Few-step students: a diffusion stage learns to walk in one step what its teacher walks in many."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from gld_ros.diffusion.flow import interpolate, output_for, shift_of, shift_time, time_grid
from gld_ros.diffusion.sampler import Conditioning, integrate
from gld_ros.networks.configs import FlowConfig
from gld_ros.training.config import Distillation
from gld_ros.training.flow_stage import Draw, FlowStage, guided_velocity


class DistillationStage(FlowStage):
    """Piecewise rectified flow (Yan et al. 2024, arXiv 2405.07510).

    The grid of sampling with `windows` steps cuts time into windows. In each the teacher, the stage as it was, walks
    from true data noised to the window's beginning down to its end in `teacher_steps` Euler steps. The student learns
    the velocity of the straight line between the two points, on its first half; `windows` Euler steps are exact then.
    """

    frozen = ("space.", "teacher.")

    def __init__(self, *arguments: Any, **options: Any):
        """As of `FlowStage`. dit: what the student begins as, and its teacher stays. flow: that of sampling."""
        super().__init__(*arguments, **options)
        self.teacher = copy.deepcopy(self.dit).requires_grad_(False)

    def times(self, uniform: Tensor, views: int) -> Tensor:
        """In the first half of every window, each as often; even before the shift, like the grid.

        At a window's end the next one begins, and the same time would have two answers: the student would give their
        mean, just where sampling stands.
        """
        windows = self.options.distill.windows
        place = windows * uniform
        linear = (place.floor() + place) / (2 * windows)
        return shift_time(1 - (1 - self.flow.t_end) * linear, shift_of(self.flow, views))

    def example(self, data: Tensor, draw: Draw, conditions: Conditioning) -> tuple[Tensor, Tensor]:
        """The point at t on the line through the window of t, and what stands for the line's velocity."""
        path = self.teacher_times(draw.t, data.shape[1])
        start = interpolate(data, draw.noise, path[0])
        end = integrate(guided_velocity(self.teacher, conditions, self.options.distill.guidance), start, path)
        line = (end - start) / (path[-1] - path[0])[:, None, None, None, None]
        noisy = start + (draw.t - path[0])[:, None, None, None, None] * line
        return noisy, output_for(self.dit.config.prediction, line, noisy, draw.t)

    def teacher_times(self, t: Tensor, views: int) -> Tensor:
        """(teacher_steps + 1, B): the teacher's grid through the window that each of the times t (B,) lies in."""
        windows, steps = self.options.distill.windows, self.options.distill.teacher_steps
        grid = time_grid(self.flow, windows * steps, views).to(t.device)
        window = (t[:, None] <= grid[steps:-1:steps]).sum(dim=1)
        return grid[window * steps + torch.arange(steps + 1, device=t.device)[:, None]]


def few_step_flow(flow: FlowConfig, stage: str, distill: Distillation) -> FlowConfig:
    """Sampling of the model with the student of `stage` ("level1" or "level0"); the other stage is as before."""
    guidance = 1.0 if distill.guidance > 1 else flow.sampling(stage)[1]
    if stage == "level0":
        return replace(flow, level0_steps=distill.windows, level0_guidance=guidance)
    steps0, guidance0 = flow.sampling("level0")
    return replace(flow, steps=distill.windows, guidance_scale=guidance, level0_steps=steps0, level0_guidance=guidance0)
