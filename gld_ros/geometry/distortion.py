# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Lens distortion: the undistorted pinhole that shows only what the camera saw, and its images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from gld_ros.errors import InvalidRequest
from gld_ros.geometry.cameras import HALF_PIXEL, Camera

FISHEYE_MODELS = ("equidistant", "fisheye")  # with coefficients of 0 the image counts as rectified, as in ROS
OPENCV_FISHEYE = "opencv_fisheye"  # the same lens as COLMAP and nerfstudio have it: bent without coefficients, too
THIN_PRISM_FISHEYE = "thin_prism_fisheye"  # COLMAP's; D: k1 k2 k3 k4 p1 p2 sx1 sy1
BENT_MODELS = (OPENCV_FISHEYE, THIN_PRISM_FISHEYE)
POLYNOMIAL_MODELS = ("", "plumb_bob", "rational_polynomial")
WIDEST = 85  # degrees from the axis that are shown at most; a pinhole's picture grows without bound towards 90
#: Numbers of coefficients that a model takes; cv2's for polynomials.
FISHEYE_COEFFICIENTS, PRISM_COEFFICIENTS, POLYNOMIAL_COEFFICIENTS = (4,), (8,), (4, 5, 8, 12, 14)


@dataclass(frozen=True)
class Pinhole:
    """An undistorted pinhole and how a lens' images become its own.

    K: (3, 3), corner convention. maps: cv2 remap tables, None where the images are undistorted already.
    aside: metres to the right of its frame's origin and below it where the camera is: not (0, 0) for the second camera
    of a stereo pair that has the frame of the first.
    """

    K: np.ndarray
    width: int
    height: int
    maps: tuple[np.ndarray, np.ndarray] | None
    aside: tuple[float, float] = (0.0, 0.0)

    def camera(self, c2w: np.ndarray) -> Camera:
        """This pinhole where its frame has the pose c2w (4, 4)."""
        if any(self.aside):
            c2w = c2w.copy()
            c2w[:3, 3] += c2w[:3, :2] @ self.aside
        return Camera(self.K, c2w, self.width, self.height)

    def apply(self, image: np.ndarray, where: str) -> np.ndarray:
        """Undistorted (H, W, 3) colours, or (H, W) depth, never blended. Raises InvalidRequest for another size."""
        if image.shape[:2] != (self.height, self.width):
            size = f"{image.shape[1]}x{image.shape[0]}"
            raise InvalidRequest(f"{where}: image of {size} pixels, its calibration says {self.width}x{self.height}")
        if self.maps is None:
            return image
        return cv2.remap(image, *self.maps, cv2.INTER_LINEAR if image.ndim == 3 else cv2.INTER_NEAREST)

    def apply_mask(self, mask: np.ndarray, where: str) -> np.ndarray:
        """Undistorted (H, W) bool: pixels that nothing which the mask excludes is blended into. Raises as `apply`."""
        shares = self.apply(mask[..., None].astype(np.float32), where)
        return shares.reshape(mask.shape) > 0.999


def undistort(K: np.ndarray, D: Sequence[float], model: str, width: int, height: int, where: str) -> Pinhole:
    """The pinhole of a distorted camera. K: (3, 3), corner convention. D: as in CameraInfo, of `model`; zeros behind
    its last coefficient change nothing.

    Raises InvalidRequest for an unknown model, for coefficients that are not finite or too few or many for it, and for
    a fisheye that sees more than a pinhole can show.
    """
    if not np.any(D) and model not in BENT_MODELS:
        return Pinhole(K, width, height, None)
    if model not in POLYNOMIAL_MODELS + FISHEYE_MODELS + BENT_MODELS:
        known = ", ".join(name for name in POLYNOMIAL_MODELS + FISHEYE_MODELS + BENT_MODELS if name)
        raise InvalidRequest(f"{where}: unknown distortion model '{model}', expected one of {known}")
    fisheye = model in FISHEYE_MODELS + BENT_MODELS
    numbers = FISHEYE_COEFFICIENTS if fisheye else POLYNOMIAL_COEFFICIENTS
    if model == THIN_PRISM_FISHEYE:
        numbers = PRISM_COEFFICIENTS
    used = int(np.flatnonzero(D).max(initial=-1)) + 1
    enough = [number for number in numbers if used <= number <= len(D)]
    if not enough or not np.isfinite(D).all():
        raise InvalidRequest(
            f"{where}: D holds {len(D)} numbers, expected finite ones, {' or '.join(map(str, numbers))}"
        )
    # cv2 counts pixel centres as whole numbers.
    centred, coefficients, size = K - HALF_PIXEL, np.asarray(D[: enough[-1]], dtype=np.float64), (width, height)
    # The new K shows only pixels that the camera saw, so that no black border passes for an observation.
    if fisheye:
        radial, bent = coefficients[:4], coefficients[4:]
        angles = np.linspace(0, np.radians(WIDEST), 1000)
        seen = (angles * np.polynomial.polynomial.polyval(angles**2, [1.0, *radial])).max()
        (fx, fy), (cx, cy) = K[(0, 1), (0, 1)], K[:2, 2]
        if max(cx / fx, (width - cx) / fx, cy / fy, (height - cy) / fy) >= seen:
            raise InvalidRequest(
                f"{where}: the lens sees {WIDEST} degrees or more from its axis, which no pinhole can show; crop the "
                "image, or undistort it to a narrower one and send that"
            )
        new = cv2.fisheye.estimateNewCameraMatrixForUndistortRectify(centred, radial, size, np.eye(3), balance=0)
        if np.any(bent):
            new, maps = _prism(centred, coefficients, new, size, where)
        else:
            maps = cv2.fisheye.initUndistortRectifyMap(centred, radial, np.eye(3), new, size, cv2.CV_32FC1)
    else:
        new, _ = cv2.getOptimalNewCameraMatrix(centred, coefficients, size, alpha=0)
        maps = cv2.initUndistortRectifyMap(centred, coefficients, np.eye(3), new, size, cv2.CV_32FC1)
    return Pinhole(new + HALF_PIXEL, width, height, maps)


def _prism(
    K: np.ndarray, D: np.ndarray, new: np.ndarray, size: tuple[int, int], where: str
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """`new` narrowed until all of it was seen, and the remap tables of a THIN_PRISM_FISHEYE. K: as cv2 counts.

    The formulas are those of `ThinPrismFisheyeCameraModel` in COLMAP's `src/colmap/sensor/models.h`.
    """
    k1, k2, k3, k4, p1, p2, sx1, sy1 = D
    width, height = size
    columns, rows = np.meshgrid(np.arange(width), np.arange(height))
    for _ in range(70):  # 1.02 ** 70 = 4
        u, v = (columns - new[0, 2]) / new[0, 0], (rows - new[1, 2]) / new[1, 1]
        radius = np.hypot(u, v)
        scale = np.arctan(radius) / np.maximum(radius, 1e-12)
        scale[radius < 1e-9] = 1
        u, v = u * scale, v * scale
        r2, uv = u * u + v * v, u * v
        growth = 1 + r2 * (k1 + r2 * (k2 + r2 * (k3 + r2 * k4)))
        x = K[0, 0] * (u * growth + 2 * p1 * uv + p2 * (r2 + 2 * u * u) + sx1 * r2) + K[0, 2]
        y = K[1, 1] * (v * growth + 2 * p2 * uv + p1 * (r2 + 2 * v * v) + sy1 * r2) + K[1, 2]
        if x.min() >= 0 and y.min() >= 0 and x.max() <= width - 1 and y.max() <= height - 1:
            return new, (x.astype(np.float32), y.astype(np.float32))
        new = new * np.array([[1.02, 1, 1], [1, 1.02, 1], [1, 1, 1]])
    raise InvalidRequest(f"{where}: coefficients {D.tolist()} bend the image so far that no part of it fits a pinhole")
