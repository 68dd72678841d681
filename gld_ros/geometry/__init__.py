"""Cameras, rays, SE(3), alignment, warping, points: pure numpy / torch."""
