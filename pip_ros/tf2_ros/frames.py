# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The tree of frames: each frame's motion relative to its parent over time. No ROS beyond the message types."""

import bisect
from dataclasses import dataclass, field

import numpy as np
from geometry_msgs.msg import TransformStamped
from transforms3d import quaternions

from tf2_ros.errors import ConnectivityException, ExtrapolationException, InvalidArgumentException, LookupException


@dataclass(frozen=True)
class Motion:
    """child -> parent: x_parent = R(rotation) x_child + translation; rotation is w, x, y, z as in transforms3d."""

    translation: np.ndarray
    rotation: np.ndarray

    def after(self, first: "Motion") -> "Motion":
        """`first`, then this."""
        return Motion(
            quaternions.rotate_vector(first.translation, self.rotation) + self.translation,
            quaternions.qmult(self.rotation, first.rotation),
        )

    def inverse(self) -> "Motion":
        back = quaternions.qconjugate(self.rotation)
        return Motion(-quaternions.rotate_vector(self.translation, back), back)

    def towards(self, other: "Motion", share: float) -> "Motion":
        """Between this (share 0) and `other` (1): straight in translation, the shorter great arc in rotation."""
        axis, angle = quaternions.quat2axangle(quaternions.qmult(other.rotation, quaternions.qconjugate(self.rotation)))
        angle = (angle + np.pi) % (2 * np.pi) - np.pi
        return Motion(
            self.translation + share * (other.translation - self.translation),
            quaternions.qmult(quaternions.axangle2quat(axis, share * angle), self.rotation),
        )


IDENTITY = Motion(np.zeros(3), np.array([1.0, 0.0, 0.0, 0.0]))


@dataclass
class Track:
    """One frame's (parent, motion) over time, stamps in ascending order; a static one is the same at every time."""

    static: bool
    stamps: list[int] = field(default_factory=list)
    links: list[tuple[str, Motion]] = field(default_factory=list)

    def insert(self, stamp: int, link: tuple[str, Motion], cache_ns: int) -> bool:
        """False for data older than the cache reaches back."""
        if self.static:
            self.stamps, self.links = [stamp], [link]
            return True
        if self.stamps and stamp < self.stamps[-1] - cache_ns:
            return False
        index = bisect.bisect_left(self.stamps, stamp)
        if index < len(self.stamps) and self.stamps[index] == stamp:
            self.links[index] = link
        else:
            self.stamps.insert(index, stamp)
            self.links.insert(index, link)
        old = bisect.bisect_left(self.stamps, self.stamps[-1] - cache_ns)
        del self.stamps[:old], self.links[:old]
        return True

    def at(self, stamp: int) -> tuple[str, Motion]:
        """The link at `stamp`, interpolated where both neighbours have the same parent. ExtrapolationException."""
        if self.static:
            return self.links[0]
        index = bisect.bisect_left(self.stamps, stamp)
        if index < len(self.stamps) and self.stamps[index] == stamp:
            return self.links[index]
        if index == 0 or index == len(self.stamps):
            end, known = ("past", self.stamps[0]) if index == 0 else ("future", self.stamps[-1])
            side = "earliest" if index == 0 else "latest"
            raise ExtrapolationException(
                f"Lookup would require extrapolation into the {end}. "
                f"Requested time {stamp / 1e9:.6f} but the {side} data is at time {known / 1e9:.6f}"
            )
        (parent, before), (next_parent, after) = self.links[index - 1 : index + 1]
        if parent != next_parent:
            return parent, before
        first, last = self.stamps[index - 1 : index + 1]
        return parent, before.towards(after, (stamp - first) / (last - first))


class Frames:
    """All tracks by child frame. Not thread-safe: Buffer holds the lock."""

    def __init__(self, cache_ns: int) -> None:
        self.cache_ns = cache_ns
        self.tracks: dict[str, Track] = {}
        self.names: set[str] = set()

    def insert(self, transform: TransformStamped, static: bool) -> bool:
        """Take a transform in; False for one that is unusable or too old."""
        parent, child = transform.header.frame_id.lstrip("/"), transform.child_frame_id.lstrip("/")
        t, q = transform.transform.translation, transform.transform.rotation
        motion = Motion(np.array([t.x, t.y, t.z]), np.array([q.w, q.x, q.y, q.z]))
        norm = np.linalg.norm(motion.rotation)
        if not parent or not child or parent == child or not np.isfinite(motion.translation).all():
            return False
        if not abs(norm - 1) < 1e-2:  # also NaN
            return False
        motion = Motion(motion.translation, motion.rotation / norm)
        if child not in self.tracks or self.tracks[child].static != static:
            self.tracks[child] = Track(static)
        self.names |= {parent, child}
        stamp = transform.header.stamp.sec * 1_000_000_000 + transform.header.stamp.nanosec
        return self.tracks[child].insert(stamp, (parent, motion), self.cache_ns)

    def clear(self) -> None:
        """Forget what moves; static transforms stay."""
        self.tracks = {child: track for child, track in self.tracks.items() if track.static}

    def check_name(self, frame: str, argument: str) -> None:
        if not frame:
            raise InvalidArgumentException(f"Invalid argument passed to {argument}: frame_ids cannot be empty")
        if frame.startswith("/"):
            raise InvalidArgumentException(f'"{frame}" passed to {argument}: frame_ids cannot start with a "/"')
        if frame not in self.names:
            raise LookupException(f'"{frame}" passed to {argument} does not exist. ')

    def lookup(self, target: str, source: str, stamp: int) -> tuple[Motion, int]:
        """source -> target and its stamp; `stamp` 0 is the newest time at which the whole way is known."""
        self.check_name(target, "lookupTransform argument target_frame")
        self.check_name(source, "lookupTransform argument source_frame")
        stamp = stamp or self._latest_common(target, source)
        up, up_unknown = self._ancestors(source, stamp)
        down, down_unknown = self._ancestors(target, stamp)
        meeting = next((frame for frame in up if frame in down), None)
        if meeting is None:
            if reason := up_unknown or down_unknown:
                raise ExtrapolationException(f"{reason}, when looking up transform from [{source}] to [{target}]")
            raise self._unconnected(target, source)
        return down[meeting].inverse().after(up[meeting]), stamp

    def _ancestors(self, frame: str, stamp: int) -> tuple[dict[str, Motion], str]:
        """frame -> each of its ancestors at `stamp`, itself first, up to the root or to what is unknown then; and why.

        An exception kept instead of its text would refer to the callers' frames and so to itself: whatever they hold,
        such as images, would stay until the next garbage collection.
        """
        motions = {frame: IDENTITY}
        while frame in self.tracks and self.tracks[frame].stamps:
            try:
                parent, motion = self.tracks[frame].at(stamp)
            except ExtrapolationException as error:
                return motions, str(error)
            if parent in motions:
                raise LookupException(f"the frames form a loop at [{parent}]")
            motions[parent] = motion.after(motions[frame])
            frame = parent
        return motions, ""

    def _latest_common(self, target: str, source: str) -> int:
        """The oldest of the newest stamps on the way; 0 where all of it is static."""
        up, down = self._newest_ancestors(source), self._newest_ancestors(target)
        meeting = next((frame for frame in up if frame in down), None)
        if meeting is None:
            raise self._unconnected(target, source)
        way = up[: up.index(meeting)] + down[: down.index(meeting)]
        return min((self.tracks[frame].stamps[-1] for frame in way if not self.tracks[frame].static), default=0)

    def _newest_ancestors(self, frame: str) -> list[str]:
        chain = [frame]
        while frame in self.tracks and self.tracks[frame].stamps:
            frame = self.tracks[frame].links[-1][0]
            if frame in chain:
                raise LookupException(f"the frames form a loop at [{frame}]")
            chain.append(frame)
        return chain

    def _unconnected(self, target: str, source: str) -> ConnectivityException:
        return ConnectivityException(
            f"Could not find a connection between '{target}' and '{source}' because they are not part of the same "
            "tree. Tf has two or more unconnected trees."
        )
