# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Reading a whole data set before a training does: what is in it, what is bad, and whether poses fit the pixels.

Poses of the wrong convention (w2c for c2w, OpenGL axes) load without an error and spoil a training in silence.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from gld_ros.data.clips import Clip
from gld_ros.data.framing import make_clip
from gld_ros.data.scenes import Progress, Scenes, Skipped
from gld_ros.errors import InvalidRequest
from gld_ros.geometry.keypoints import keypoints, matches
from gld_ros.geometry.se3 import invert

NEIGHBOURS = 3  # views in the middle of a scene whose poses are compared with their images
GAP = 10  # frames between those, at most


@dataclass
class Found:
    """Contents of the good scenes."""

    scenes: int = 0
    frames: int = 0
    sizes: set[tuple[int, int]] = field(default_factory=set)


def check_scenes(scenes: Scenes, progress: Progress = iter) -> tuple[Found, Skipped]:
    """Check all cameras of every scene, its first and last image, and the poses of some neighbours in its middle."""
    found, bad = Found(), Skipped()
    for index in progress(range(len(scenes))):
        try:
            frames = scenes.frames(index)
            for frame in (frames[0], frames[-1]):
                frame.view()
            _check_middle(scenes, index)
        except InvalidRequest as error:
            bad.add(scenes.names[index], str(error))
            continue
        found.scenes += 1
        found.frames += len(frames)
        found.sizes |= {(frame.camera.width, frame.camera.height) for frame in frames}
    return found, bad


def _check_middle(scenes: Scenes, index: int) -> None:
    frames = scenes.frames(index)
    camera = frames[len(frames) // 2].camera_name  # neighbours of a rig may look away from each other
    own = [frame for frame in frames if frame.camera_name == camera]
    step = max(min(GAP, (len(own) - 1) // (NEIGHBOURS - 1)), 1)
    start = max((len(own) - 1 - step * (NEIGHBOURS - 1)) // 2, 0)
    size = own[0].camera.width, own[0].camera.height
    check_poses(make_clip(own[start::step][:NEIGHBOURS], size, scenes.names[index]))


OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])
#: Conventions of a pose's numbers, and the c2w in OpenCV axes of each.
CONVENTIONS = {
    "c2w, OpenCV axes": lambda pose: pose,
    "w2c, OpenCV axes": invert,
    "c2w, OpenGL axes": lambda pose: pose @ OPENGL,
    "w2c, OpenGL axes": lambda pose: invert(pose) @ OPENGL,
}
GIVEN = next(iter(CONVENTIONS))
TOLERANCE = 0.004  # of the image's diagonal, from the epipolar line
ENOUGH_MATCHES = 30
CONVINCING, REFUTED = 0.6, 0.5  # share of matches another convention explains, and ours' part of that


def agreement(clip: Clip) -> dict[str, float]:
    """Convention -> share of the matches between neighbouring views that it explains: on the epipolar line and in
    front of both cameras. Empty where too few matches are found (noise, blur, no overlap) or the camera stands still.
    """
    images = (clip.images * 255).byte().permute(0, 2, 3, 1).numpy()
    K, poses = clip.K.double().numpy(), clip.c2w.double().numpy()
    tolerance = TOLERANCE * float(np.hypot(*clip.size))
    explained: dict[str, list[np.ndarray]] = {name: [] for name in CONVENTIONS}
    for a, b in zip(range(len(clip) - 1), range(1, len(clip)), strict=True):
        if np.linalg.norm(poses[a, :3, 3] - poses[b, :3, 3]) < 1e-9:
            continue
        points = _matches(images[a], images[b])
        for name, convert in CONVENTIONS.items():
            relative = invert(convert(poses[b])) @ convert(poses[a])
            explained[name].append(_explained(*points, K[a], K[b], relative, tolerance))
    if sum(len(found) for found in explained[GIVEN]) < ENOUGH_MATCHES:
        return {}
    return {name: float(np.concatenate(found).mean()) for name, found in explained.items()}


def check_poses(clip: Clip) -> None:
    """Raise InvalidRequest where the images say that the poses follow another convention than `Clip.c2w`."""
    shares = agreement(clip)
    best = max(shares, key=lambda name: shares[name], default=GIVEN)
    if best != GIVEN and shares[best] > CONVINCING and shares[GIVEN] < REFUTED * shares[best]:
        raise InvalidRequest(
            f"{clip.name}: the poses are not {GIVEN}: that explains {shares[GIVEN]:.0%} of the matches between the "
            f"images, {best} explains {shares[best]:.0%}"
        )


def _matches(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (N, 2) of the same points in two images (H, W, 3), corner convention; those that some motion explains."""
    first, second = (keypoints(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), 1000) for image in (a, b))
    pixels_a, pixels_b = matches(first, second, mutual=False)
    if len(pixels_a) < 8:
        return np.empty((0, 2)), np.empty((0, 2))
    cv2.setRNGSeed(0)
    _, inliers = cv2.findFundamentalMat(pixels_a, pixels_b, cv2.FM_RANSAC, 1.5)
    kept = np.zeros(len(pixels_a), dtype=bool) if inliers is None else inliers.ravel().astype(bool)
    return pixels_a[kept], pixels_b[kept]


def _explained(
    a: np.ndarray, b: np.ndarray, K_a: np.ndarray, K_b: np.ndarray, relative: np.ndarray, tolerance: float
) -> np.ndarray:
    """(N,) bool. relative: (4, 4), points of camera a in camera b."""
    rotation, t = relative[:3, :3], relative[:3, 3]
    rays_a, rays_b = ((np.c_[p, np.ones(len(p))] @ np.linalg.inv(K).T) for p, K in ((a, K_a), (b, K_b)))
    turned = rays_a @ rotation.T
    cross = np.array([[0, -t[2], t[1]], [t[2], 0, -t[0]], [-t[1], t[0], 0]])
    lines = turned @ cross.T @ np.linalg.inv(K_b)  # of b's image: l . (u, v, 1) = 0
    distance = np.abs((lines * np.c_[b, np.ones(len(b))]).sum(1)) / np.maximum(
        np.linalg.norm(lines[:, :2], axis=1), 1e-12
    )
    # Depths d_a, d_b with d_b ray_b = d_a turned + t, by least squares.
    aa, bb, ab = (turned**2).sum(1), (rays_b**2).sum(1), (turned * rays_b).sum(1)
    at, bt = turned @ t, rays_b @ t
    determinant = np.maximum(aa * bb - ab**2, 1e-15)
    depth_a, depth_b = (ab * bt - bb * at) / determinant, (aa * bt - ab * at) / determinant
    return (distance < tolerance) & (depth_a > 0) & (depth_b > 0)
