# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Pairing of images and CameraInfo by stamp, in any order."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from gld_ros.ros.node.pairing import JUMP_BACK, StampPairing

SECOND = 1_000_000_000


def pairing(capacity=3, slop=0):
    drops, jumps = Counter(), []
    return StampPairing(capacity, slop, lambda kind: drops.update([kind]), lambda: jumps.append(1)), drops, jumps


def test_holds_little_and_counts_what_it_drops():
    pairs, drops, _ = pairing(capacity=3)
    for stamp in range(10):
        assert pairs.add("image", stamp, stamp) is None
    assert drops == {"image": 7}
    assert pairs.add("info", 0, "late") is None  # its image had to go
    assert pairs.add("info", 9, "info") == (9, "info")
    pairs.add("image", 20, "first")
    pairs.add("image", 20, "second")
    assert drops == {"image": 8}


def test_slop_takes_the_nearest():
    pairs, _, _ = pairing(slop=5)
    pairs.add("image", 100, "a")
    pairs.add("image", 108, "b")
    assert pairs.add("info", 106, "info") == ("b", "info")
    assert pairs.add("info", 90, "far") is None


def test_a_jump_back_clears():
    pairs, drops, jumps = pairing()
    pairs.add("image", 100 * SECOND, "old")
    assert pairs.add("image", 99 * SECOND + 1, "late, no jump") is None
    assert not jumps
    assert pairs.add("image", 5 * SECOND, "new") is None
    assert len(jumps) == 1 and drops == {"image": 2}
    assert pairs.add("info", 5 * SECOND, "info") == ("new", "info")
    assert len(jumps) == 1


STAMPS = st.one_of(st.integers(1, 20), st.integers(1, 10 * JUMP_BACK))
EVENTS = st.lists(st.tuples(st.sampled_from(["image", "info"]), STAMPS), max_size=60)


@given(EVENTS, st.integers(1, 5), st.sampled_from([0, 1, 3, JUMP_BACK // 2]))
def test_each_message_is_paired_once_dropped_once_or_held(events, capacity, slop):
    drops = Counter()
    pairs = StampPairing(capacity, slop, lambda kind: drops.update([kind]))
    paired = []
    for number, (kind, stamp) in enumerate(events):
        pair = pairs.add(kind, stamp, (kind, stamp, number))
        if pair is not None:
            paired.append(pair)
        assert all(len(waiting) <= capacity for waiting in pairs._waiting.values())
    for image, info in paired:
        assert (image[0], info[0]) == ("image", "info") and abs(image[1] - info[1]) <= slop
    numbers = [message[2] for pair in paired for message in pair]
    assert len(numbers) == len(set(numbers))
    held = sum(len(waiting) for waiting in pairs._waiting.values())
    assert len(events) == 2 * len(paired) + sum(drops.values()) + held
    pairs.clear()
    assert len(events) == 2 * len(paired) + sum(drops.values())


@given(EVENTS.map(lambda events: [(kind, stamp % JUMP_BACK) for kind, stamp in events]))
def test_without_slop_and_jumps_a_pair_of_equal_stamps_is_never_missed(events):
    pairs = StampPairing(len(events) + 1)
    waiting: dict[str, set[int]] = {"image": set(), "info": set()}
    for kind, stamp in events:
        other = "info" if kind == "image" else "image"
        assert (pairs.add(kind, stamp, None) is not None) == (stamp in waiting[other])
        if stamp in waiting[other]:
            waiting[other].discard(stamp)
        else:
            waiting[kind].add(stamp)
