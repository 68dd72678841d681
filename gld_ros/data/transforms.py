# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A tree of stamped transforms with lookups between stamps, for reading bags without ROS."""

from __future__ import annotations

from bisect import bisect_left

import numpy as np

from gld_ros.data.trajectory import GAP, Trajectory
from gld_ros.errors import TFError
from gld_ros.geometry.se3 import interpolate_pose, invert

UNSTAMPED = "the stamp is zero: the driver does not stamp its messages"


def apart(images: tuple[int, int], poses: tuple[int, int] | None) -> str:
    """That images and poses have stamps of different clocks, by the first and last stamp (ns) of both; else empty."""
    if poses is None or (images[0] <= poses[1] and poses[0] <= images[1]):
        return ""
    ends = [sorted({f"{first / 1e9:.3f}", f"{last / 1e9:.3f}"}, key=float) for first, last in (images, poses)]
    stamps = [f"{' to '.join(end)} s" for end in ends]
    return f"the images are stamped {stamps[0]}, the poses {stamps[1]}: they are of different clocks or times"


class TransformTree:
    """Every frame has one parent, as in TF; moving transforms are interpolated, never extrapolated."""

    def __init__(self) -> None:
        self._parents: dict[str, str] = {}
        self._rivals: dict[str, list[str]] = {}  # frame: all its parents, where there are several
        self._static: dict[str, np.ndarray] = {}
        self._moving: dict[str, dict[int, np.ndarray]] = {}
        self._stamps: dict[str, list[int]] = {}
        self._followed: dict[str, tuple[Trajectory, np.ndarray]] = {}  # frame: of what, and where it sits on that

    def __contains__(self, frame: str) -> bool:
        return frame in self._parents

    def add(self, parent: str, child: str, stamp: int, matrix: np.ndarray, static: bool) -> None:
        """`matrix` (4, 4): pose of `child` in `parent`; stamp in nanoseconds."""
        before = self._parents.setdefault(child, parent)
        if parent != before and parent not in (rivals := self._rivals.setdefault(child, [before])):
            rivals.append(parent)
        if static:
            self._static[child] = matrix
        else:
            self._moving.setdefault(child, {})[stamp] = matrix
            self._stamps.pop(child, None)

    def follow(self, frame: str, trajectory: Trajectory) -> None:
        """Let `frame` have the trajectory's poses in `map`, and what is rigid to it move along."""
        body, offset = frame, np.eye(4)
        while body in self._static and self._parents[body] != "map":
            offset = self._static[body] @ offset
            body = self._parents[body]
        self._parents[body] = "map"
        self._rivals.pop(body, None)
        self._static.pop(body, None)
        mount = invert(offset)
        self._followed[body] = trajectory, mount
        poses = zip(trajectory.stamps, trajectory.poses, strict=True)
        self._moving[body] = {stamp: pose @ mount for stamp, pose in poses}

    def is_followed(self, frame: str) -> bool:
        """True if `frame` moves along a trajectory."""
        return any(above in self._followed for above in self._chain(frame))

    def root(self, frame: str, stop: str = "map") -> str:
        """The topmost frame above `frame`, or `stop` where that lies on the way. Raises TFError for a loop or two
        parents of a frame."""
        return self._chain(frame, stop)[-1]

    def moves(self, frame: str) -> bool:
        """True if a transform from its root down to `frame` is of a moving kind. Raises TFError as `root`."""
        return any(child in self._moving for child in self._chain(frame))

    def _chain(self, frame: str, stop: str = "map") -> list[str]:
        chain = [frame]
        while chain[-1] in self._parents and chain[-1] != stop:
            if rivals := self._rivals.get(chain[-1]):
                raise TFError(
                    f"TF has {len(rivals)} parents of the frame {chain[-1]!r}: {', '.join(map(repr, rivals))}; one is "
                    "expected. Record without the node that publishes the other one"
                )
            chain.append(self._parents[chain[-1]])
            if chain[-1] in chain[:-1]:
                raise TFError(f"TF has a loop through the frame {chain[-1]!r}")
        return chain

    def lookup(self, root: str, frame: str, stamp: int) -> np.ndarray:
        """(4, 4) pose of `frame` in its ancestor `root` at `stamp` ns. Raises TFError outside the recorded times."""
        pose = np.eye(4)
        while frame != root:
            if frame not in self._parents:
                raise TFError(f"no transform leads from {root!r} to {frame!r}")
            pose = self._edge(frame, stamp) @ pose
            frame = self._parents[frame]
        return pose

    def span(self, frame: str) -> tuple[int, int] | None:
        """First and last stamp (ns) at which the pose of `frame` is known; None where nothing above it moves."""
        moving = [self._moving[child] for child in self._chain(frame)[:-1] if child not in self._static]
        return (max(map(min, moving)), min(map(max, moving))) if moving else None

    def _edge(self, child: str, stamp: int) -> np.ndarray:
        if child in self._static:
            return self._static[child]
        if child in self._followed:
            trajectory, mount = self._followed[child]
            pose = trajectory.at(stamp)
            if pose is None:
                raise TFError(
                    f"{trajectory.where} has no pose at {stamp / 1e9:.6f} s, nor two around it that are at most "
                    f"{GAP / 1e9:g} s apart; it is of {trajectory.span()}"
                )
            return pose @ mount
        poses = self._moving[child]
        if stamp in poses:
            return poses[stamp]
        if child not in self._stamps:
            self._stamps[child] = sorted(poses)
        stamps = self._stamps[child]
        after = bisect_left(stamps, stamp)
        if after in (0, len(stamps)):
            known = f"{stamps[0] / 1e9:.3f} to {stamps[-1] / 1e9:.3f} s"
            raise TFError(f"the transform of {child!r} is known from {known} only")
        before = stamps[after - 1]
        share = (stamp - before) / (stamps[after] - before)
        if not all(np.isfinite(poses[near]).all() for near in (before, stamps[after])):
            return np.full((4, 4), np.nan)
        return interpolate_pose(poses[before], poses[stamps[after]], share)
