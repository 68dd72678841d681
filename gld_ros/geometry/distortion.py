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

FISHEYE_MODELS = ("equidistant", "fisheye")
POLYNOMIAL_MODELS = ("", "plumb_bob", "rational_polynomial")
WIDEST = 85  # degrees from the axis that are shown at most; a pinhole's picture grows without bound towards 90
FISHEYE_COEFFICIENTS, POLYNOMIAL_COEFFICIENTS = (4,), (4, 5, 8, 12, 14)  # numbers of them that cv2 takes


@dataclass(frozen=True)
class Pinhole:
    """An undistorted pinhole and how a lens' images become its own.

    K: (3, 3), corner convention. maps: cv2 remap tables, None where the images are undistorted already.
    """

    K: np.ndarray
    width: int
    height: int
    maps: tuple[np.ndarray, np.ndarray] | None

    def camera(self, c2w: np.ndarray) -> Camera:
        """This pinhole at a pose (4, 4)."""
        return Camera(self.K, c2w, self.width, self.height)

    def apply(self, image: np.ndarray, where: str) -> np.ndarray:
        """Undistorted (H, W, 3) colours, or (H, W) depth, never blended. Raises InvalidRequest for another size."""
        if image.shape[:2] != (self.height, self.width):
            size = f"{image.shape[1]}x{image.shape[0]}"
            raise InvalidRequest(f"{where}: image of {size} pixels, its calibration says {self.width}x{self.height}")
        if self.maps is None:
            return image
        return cv2.remap(image, *self.maps, cv2.INTER_LINEAR if image.ndim == 3 else cv2.INTER_NEAREST)


def undistort(K: np.ndarray, D: Sequence[float], model: str, width: int, height: int, where: str) -> Pinhole:
    """The pinhole of a distorted camera. K: (3, 3), corner convention. D: as in CameraInfo, of `model`.

    Raises InvalidRequest for an unknown model, for coefficients that are not finite or too few or many for it, and for
    a fisheye that sees more than a pinhole can show.
    """
    if not np.any(D):
        return Pinhole(K, width, height, None)
    if model not in POLYNOMIAL_MODELS + FISHEYE_MODELS:
        known = ", ".join(name for name in POLYNOMIAL_MODELS + FISHEYE_MODELS if name)
        raise InvalidRequest(f"{where}: unknown distortion model '{model}', expected one of {known}")
    numbers = FISHEYE_COEFFICIENTS if model in FISHEYE_MODELS else POLYNOMIAL_COEFFICIENTS
    if len(D) not in numbers or not np.isfinite(D).all():
        raise InvalidRequest(
            f"{where}: D holds {len(D)} numbers, expected finite ones, {' or '.join(map(str, numbers))}"
        )
    # cv2 counts pixel centres as whole numbers.
    centred, coefficients, size = K - HALF_PIXEL, np.asarray(D, dtype=np.float64), (width, height)
    # The new K shows only pixels that the camera saw, so that no black border passes for an observation.
    if model in FISHEYE_MODELS:
        angles = np.linspace(0, np.radians(WIDEST), 1000)
        seen = (angles * np.polynomial.polynomial.polyval(angles**2, [1.0, *coefficients])).max()
        (fx, fy), (cx, cy) = K[(0, 1), (0, 1)], K[:2, 2]
        if max(cx / fx, (width - cx) / fx, cy / fy, (height - cy) / fy) >= seen:
            raise InvalidRequest(
                f"{where}: the lens sees {WIDEST} degrees or more from its axis, which no pinhole can show; crop the "
                "image, or undistort it to a narrower one and send that"
            )
        new = cv2.fisheye.estimateNewCameraMatrixForUndistortRectify(centred, coefficients, size, np.eye(3), balance=0)
        maps = cv2.fisheye.initUndistortRectifyMap(centred, coefficients, np.eye(3), new, size, cv2.CV_32FC1)
    else:
        new, _ = cv2.getOptimalNewCameraMatrix(centred, coefficients, size, alpha=0)
        maps = cv2.initUndistortRectifyMap(centred, coefficients, np.eye(3), new, size, cv2.CV_32FC1)
    return Pinhole(new + HALF_PIXEL, width, height, maps)
