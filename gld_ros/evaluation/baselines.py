"""What a view has to beat: the nearest source as it is, and plain depth warping with the holes blurred over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from gld_ros.evaluation.comparison import nearest
from gld_ros.geometry.cameras import Camera
from gld_ros.models.matching import SourceDepth
from gld_ros.pipeline.method import to_uint8
from gld_ros.pipeline.synthesis import warp_sources
from gld_ros.pipeline.views import SourceView
from gld_ros.pipeline.warped import PreparedSources, WarpedSynthesis


@dataclass(frozen=True)
class Picture:
    """image: (H, W, 3) uint8. depth: (H, W) metres. seen: (H, W) bool, what the sources show."""

    image: np.ndarray
    depth: np.ndarray
    seen: np.ndarray


def copy_nearest(sources: Sequence[SourceView], depths: Sequence[np.ndarray], target: Camera) -> Picture:
    """The source nearest in pose, with its true depth (H, W)."""
    k = nearest(target, [s.camera for s in sources])
    return Picture(sources[k].image, depths[k], np.ones(depths[k].shape, dtype=bool))


@torch.inference_mode()
def depth_warp(
    synthesis: WarpedSynthesis,
    prepared: PreparedSources,
    target: Camera,
    depths: Sequence[np.ndarray] | None = None,
    sharp: bool = False,
) -> Picture:
    """Sources splatted by the model's own depth, or by the true `depths` (H, W) in metres; pull-push fills holes.

    sharp: read back from the sources as the model's own input is, so that what is learned can be told from it.
    """
    K, c2w = synthesis.cameras([target], prepared.frame, prepared.size)
    depth = prepared.depth
    if depths is not None:
        true = torch.from_numpy(np.stack(depths))[None].to(synthesis.device) / prepared.frame.unit
        depth = SourceDepth(true, torch.full_like(true, 0.01))
    warped = warp_sources(prepared.images, depth, prepared.K, prepared.c2w, K[:, 0], c2w[:, 0], sharp)
    metres = warped.depth[0] * prepared.frame.unit
    return Picture(to_uint8(warped.image[0]), metres.cpu().numpy(), warped.seen[0].cpu().numpy())
