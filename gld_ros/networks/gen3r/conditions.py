# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The conditions that a clip is generated from: given frames and their mask, rays of cameras, the picture for CLIP
(spec gen3r.md).

A clip is conditioned on its first frame, its first and last, or all. Frames that are not given are black.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from gld_ros.errors import InvalidRequest
from gld_ros.geometry.rays import exact, plucker
from gld_ros.networks.gen3r.latents import SPACE, TIME, latent_frames

#: CLIP's normalisation of colours, and the size of its picture.
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
#: Built-in camera paths: what changes, and to where. Distances are in units of the scene, angles in degrees.
PATHS = {
    "zoom_in": ("z", 1.0),
    "zoom_out": ("z", -1.0),
    "arc_right": ("y", 15.0),
    "arc_left": ("y", -15.0),
    "translate_up": ("x", 15.0),
    "translate_down": ("x", -15.0),
    "free": ("z", 0.0),
}


def given_frames(images: int, frames: int) -> list[int]:
    """Frames of a clip that so many images are. Raises InvalidRequest for other numbers than 1, 2 and all."""
    if images == frames:
        return list(range(frames))
    if images not in (1, 2):
        raise InvalidRequest(f"{images} images for a clip of {frames} frames, expected 1, 2 or {frames}")
    return [0, frames - 1][:images]


def padded_clip(images: Tensor, frames: int) -> Tensor:
    """(B, 3, F, H, W) in 0..1 of given images (B, N, 3, H, W), black elsewhere."""
    clip = images.new_zeros(len(images), 3, frames, *images.shape[-2:])
    clip[:, :, given_frames(images.shape[1], frames)] = images.transpose(1, 2)
    return clip


def condition(appearance: Tensor, images: int, frames: int) -> Tensor:
    """(B, 20, f, h, 2w): latents, then masks; geometry's half holds zeros.

    appearance: (B, 16, f, h, w) sample of the padded clip's latents. The four masks of a latent frame are those of its
    four frames; the first frame counts four times.
    """
    mask = appearance.new_zeros(len(appearance), frames, *appearance.shape[-2:])
    mask[:, given_frames(images, frames)] = 1
    return F.pad(torch.cat([appearance, packed(mask[:, :, None])], dim=1), (0, appearance.shape[-1]))


def packed(x: Tensor) -> Tensor:
    """(B, F, C, h, w) -> (B, 4 C, f, h, w): channel 4 c + k is channel c of the k-th of four frames."""
    f = latent_frames(x.shape[1])
    x = torch.cat([x[:, :1].expand(-1, TIME - 1, -1, -1, -1), x], dim=1).unflatten(1, (f, TIME))
    return x.permute(0, 3, 2, 1, 4, 5).flatten(1, 2)


@exact
def rays(K: Tensor, c2w: Tensor, size: tuple[int, int]) -> Tensor:
    """Rays (F, 6, H, W) float32, [moment, direction], of pixel intrinsics K (F, 3, 3) and poses c2w (F, 4, 4).

    In the frame of the first camera; translations are not scaled. The released weights expect those of VGGT's scenes.
    """
    direction, moment = plucker(K.float(), relative_poses(c2w).float(), *size).chunk(2, dim=1)
    return torch.cat([moment, direction], dim=1)


def relative_poses(c2w: Tensor) -> Tensor:
    """c2w (F, 4, 4) seen from the first camera, whose pose is the identity to the bit."""
    relative = torch.linalg.inv(c2w[0]) @ c2w
    relative[0] = torch.eye(4, dtype=c2w.dtype, device=c2w.device)
    return relative


def packed_rays(rays: Tensor) -> Tensor:
    """(1, 24, f, H, 2W), the same for both halves, of rays (F, 6, H, W)."""
    x = packed(rays[None])
    return torch.cat([x, x], dim=-1)


def no_rays(frames: int, size: tuple[int, int], like: Tensor) -> Tensor:
    """Packed rays (1, 24, f, H, 2W) of a clip without cameras: zeros, for which the control adapter was trained."""
    return like.new_zeros(1, 6 * TIME, latent_frames(frames), size[0], 2 * size[1])


def path(name: str, frames: int, scene: float) -> Tensor:
    """c2w (F, 4, 4) float32 of a built-in path from the identity. scene: the scene's size, 0.8 times its median depth.

    arc_* and translate_* turn the camera where it is, whatever their names say: they are kept as released.
    Raises InvalidRequest.
    """
    if name not in PATHS:
        raise InvalidRequest(f"camera path is '{name}', expected one of {', '.join(PATHS)}")
    axis, end = PATHS[name]
    poses = torch.eye(4).repeat(frames, 1, 1)
    if axis == "z":
        poses[:, 2, 3] = torch.linspace(0, end * scene, frames)
        return poses
    angle = torch.linspace(0, math.radians(end), frames)
    a, b = (2, 0) if axis == "y" else (1, 2)  # the plane that turns, from axis a to axis b
    poses[:, a, a] = poses[:, b, b] = angle.cos()
    poses[:, b, a], poses[:, a, b] = angle.sin(), -angle.sin()
    return poses


def covered(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Images (N, 3, h, w) in 0..1 resized, with a low-pass filter, to cover `size` (H, W), and cropped to it."""
    scale = max(size[0] / images.shape[-2], size[1] / images.shape[-1])
    resized = [round(scale * n) for n in images.shape[-2:]]
    x = F.interpolate(images, size=resized, mode="bilinear", antialias=True)
    top, left = ((full - part) // 2 for full, part in zip(resized, size, strict=True))
    return x[..., top : top + size[0], left : left + size[1]]


def covered_intrinsics(K: Tensor, original: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """K (3, 3) of an image of `original` (H, W) after `covered`; as released, the crop of a size rounded down."""
    scale = max(size[0] / original[0], size[1] / original[1])
    top, left = ((int(n * scale) - part) // 2 for n, part in zip(original, size, strict=True))
    K = K * K.new_tensor([scale, scale, 1.0])[:, None]
    K[0, 2] -= left
    K[1, 2] -= top
    return K


def eight_bits(image: Tensor) -> Tensor:
    """(3, H, W) in 0..1, cut off to 8 bits as the released tool does, in -1..1."""
    return (image * 255).to(torch.uint8).float() / 255 * 2 - 1


def clip_picture(image: Tensor, size: int = 224) -> Tensor:
    """CLIP's picture (1, 3, 224, 224) of an image (3, H, W) in -1..1: bicubic without a low-pass filter."""
    x = F.interpolate(image[None], size=(size, size), mode="bicubic", align_corners=False)
    return (x / 2 + 0.5 - x.new_tensor(CLIP_MEAN)[:, None, None]) / x.new_tensor(CLIP_STD)[:, None, None]


def latent_size(size: tuple[int, int]) -> tuple[int, int]:
    """(h, w) of the latents of (H, W) images."""
    return size[0] // SPACE, size[1] // SPACE
