# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Pairing of images and CameraInfo by stamp, in any order."""

from collections import Counter

import pytest
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
        assert not pairs.add("image", stamp, stamp)
    assert drops == {"image": 7}
    assert not pairs.add("info", 0, "late")  # its image had to go
    assert pairs.add("info", 9, "info") == [(9, "info")]
    pairs.add("image", 20, "first")
    pairs.add("image", 20, "second")
    assert drops == {"image": 8}


def test_slop_takes_the_nearest():
    pairs, _, _ = pairing(slop=5)
    pairs.add("image", 100, "a")
    pairs.add("image", 108, "b")
    assert pairs.add("info", 106, "info") == [("b", "info")]
    assert not pairs.add("info", 90, "far")


def test_a_jump_back_clears():
    pairs, drops, jumps = pairing()
    pairs.add("image", 100 * SECOND, "old")
    assert not pairs.add("image", 99 * SECOND + 1, "late, no jump")
    assert not jumps
    assert not pairs.add("image", 5 * SECOND, "new")
    assert len(jumps) == 1 and drops == {"image": 2}
    assert pairs.add("info", 5 * SECOND, "info") == [("new", "info")]
    assert len(jumps) == 1


@pytest.mark.parametrize("ahead", (20, 100, 3600))
@pytest.mark.parametrize("both", (True, False))
def test_a_stamp_of_the_future_is_no_jump(ahead, both):
    pairs, drops, jumps = pairing(capacity=10)
    paired = []
    for k in range(30):
        late = ahead * SECOND if k in (4, 20) else 0
        paired += pairs.add("image", 100 * SECOND + k * SECOND // 10 + late, k)
        paired += pairs.add("info", 100 * SECOND + k * SECOND // 10 + late * both, k)
    good = [(k, k) for k in range(30) if k not in (4, 20)]
    assert not jumps and [pair for pair in paired if pair[0] not in (4, 20)] == good
    assert len(paired) == (30 if both else 28) and not drops
    assert not pairs.add("image", 102 * SECOND + 5, "late, no jump") and not jumps
    pairs.add("image", 50 * SECOND, "again")
    assert jumps


def test_time_goes_on_after_a_pause():
    """A leap ahead that lasts is no message of the future: going back from there is a jump."""
    pairs, _, jumps = pairing()
    for stamp in (0, *range(60, 90)):
        pairs.add("image", stamp * SECOND // 10 + 100 * SECOND, stamp)
    pairs.add("image", 102 * SECOND, "again")
    assert jumps


def latched(*events):
    """The pairs of infos ("a", "b", ...) and images (numbers), the number of a message is its stamp."""
    pairs, drops, jumps = pairing(capacity=20)
    pairs.latched = True
    paired = []
    for name, stamp in events:
        paired += pairs.add("info" if isinstance(name, str) else "image", stamp, name)
    assert not jumps
    pairs.clear()
    return paired, drops["image"]


def test_a_latched_camera_info_holds_for_every_image():
    images = [(k, k * SECOND) for k in range(100, 106)]
    for events in (
        [("a", 0), *images],
        [("a", 100 * SECOND), *images],  # stamped as the first image
        [*images[:3], ("a", 0), ("a", 0), *images[3:]],  # the node comes late, and subscribes twice
    ):
        assert latched(*events) == ([(k, "a") for k, _ in images], 0)
    changed = [("a", 0), *images[:3], ("b", 103 * SECOND), *images[3:]]
    assert latched(*changed) == ([(k, "a" if k < 103 else "b") for k, _ in images], 0)


@pytest.mark.parametrize("image_first", (True, False))
def test_latched_infos_of_each_image_are_paired_by_stamp(image_first):
    events = [("old", 1)]
    for k in range(100, 110):
        events += [(k, k), (str(k), k)] if image_first else [(str(k), k), (k, k)]
    pairs, lost = latched(*events)
    assert pairs[2:] == [(k, str(k)) for k in range(102, 110)] and not lost


@pytest.mark.parametrize("late", (8_000_000, -8_000_000, 5 * SECOND))
def test_streams_that_never_meet_are_told(late):
    told = []
    pairs = StampPairing(60, on_apart=lambda image, info: told.append(image - info))
    for k in range(8):
        stamp = (100 + k) * 10 * SECOND
        for kind, at in sorted((("image", stamp + late), ("info", stamp)), key=lambda event: event[1]):
            pairs.add(kind, at, k)
    assert told == [late, late]
    assert not [pairs.add("image", k * SECOND, k) for k in range(3000, 3010) if pairs.add("info", k * SECOND, k)]
    assert told == [late, late]


STAMPS = st.one_of(st.integers(1, 20), st.integers(1, 10 * JUMP_BACK))
EVENTS = st.lists(st.tuples(st.sampled_from(["image", "info"]), STAMPS), max_size=60)


@given(EVENTS, st.integers(1, 5), st.sampled_from([0, 1, 3, JUMP_BACK // 2]))
def test_each_message_is_paired_once_dropped_once_or_held(events, capacity, slop):
    drops = Counter()
    pairs = StampPairing(capacity, slop, lambda kind: drops.update([kind]))
    paired = []
    for number, (kind, stamp) in enumerate(events):
        paired += pairs.add(kind, stamp, (kind, stamp, number))
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
        assert bool(pairs.add(kind, stamp, None)) == (stamp in waiting[other])
        if stamp in waiting[other]:
            waiting[other].discard(stamp)
        else:
            waiting[kind].add(stamp)
