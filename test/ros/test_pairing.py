# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Pairing of images and CameraInfo by stamp."""

from collections import Counter

from gld_ros.ros.node.pairing import StampPairing

SECOND = 1_000_000_000


def pairing(capacity=3, slop=0):
    drops, jumps = Counter(), []
    return StampPairing(capacity, slop, lambda kind: drops.update([kind]), lambda: jumps.append(1)), drops, jumps


def test_pairs_by_stamp_in_any_order():
    pairs, drops, jumps = pairing()
    assert pairs.add("image", 10, "image10") is None
    assert pairs.add("image", 20, "image20") is None
    assert pairs.add("info", 20, "info20") == ("image20", "info20")
    assert pairs.add("info", 10, "info10") == ("image10", "info10")
    assert pairs.add("info", 30, "info30") is None
    assert pairs.add("image", 30, "image30") == ("image30", "info30")
    assert not drops and not jumps


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
