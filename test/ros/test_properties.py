# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Properties of pairing, pending frames and the worker, for any order of events."""

import threading
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gld_ros.errors import GLDError, TFError
from gld_ros.ros.node.pairing import JUMP_BACK, StampPairing
from gld_ros.ros.node.poses import PendingFrames
from gld_ros.ros.node.worker import Worker

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


class Source:
    """Knows the poses of some stamps."""

    def __init__(self):
        self.known = set()

    def pose(self, frame, stamp):
        if stamp not in self.known:
            raise TFError(f"nothing known of '{frame}' at {stamp}")
        return np.eye(4)


PENDING = st.lists(
    st.one_of(
        st.tuples(st.just("push"), st.integers(0, 30)),
        st.tuples(st.just("know"), st.integers(0, 30)),
        st.tuples(st.sampled_from(["retry", "clear", "late"]), st.just(0)),
    ),
    max_size=50,
)


@given(PENDING, st.integers(1, 5))
def test_each_frame_gets_its_pose_or_is_dropped_in_order(events, capacity):
    source, dropped, found, pushed = Source(), [], [], []
    pending = PendingFrames(source, capacity, 1e6, lambda item, reason: dropped.append(item) or reason[0])
    for number, (event, stamp) in enumerate(events):
        if event == "push":
            pending.push("camera", stamp, (number, stamp))
            pushed.append((number, stamp))
        elif event == "know":
            source.known.add(stamp)
        elif event == "clear":
            pending.clear()
            assert len(pending) == 0
        else:
            pending.timeout = -1.0 if event == "late" else 1e6
            now = [item for _, item in pending.retry()]
            assert all(stamp in source.known for _, stamp in now) and now == sorted(now)
            found += now
            pending.timeout = 1e6
        assert len(pending) <= capacity
        assert len(pushed) == len(found) + len(dropped) + len(pending)
    assert len({number for number, _ in [*found, *dropped]}) == len(found) + len(dropped)


JOBS = st.lists(
    st.tuples(st.sampled_from(["returns", "raises", "cancelled", "late", "crashes"]), st.booleans()), max_size=12
)


@settings(deadline=None, max_examples=50)
@given(JOBS, st.integers(1, 6))
def test_every_job_ends_in_order_with_a_value_or_an_error(jobs, capacity):
    worker, order, gate = Worker(capacity), [], threading.Event()
    crashes = 0
    try:
        first = worker.submit(lambda job: gate.wait(20))
        submitted = []
        for number, (how, sweep) in enumerate(jobs):

            def work(job, number=number, how=how):
                order.append(number)
                if how == "crashes":
                    raise SystemExit(how)
                return number if how == "returns" else 1 // 0

            waiting = worker.waiting
            try:
                job = worker.submit(work, budget=0.0 if how == "late" else None)
            except GLDError:
                assert waiting >= capacity
                continue
            if how == "cancelled":
                job.cancel()
            if sweep:
                worker.sweep()
            submitted.append((number, how, job))
        gate.set()
        assert first.future.exception(20) is None
        for number, how, job in submitted:
            error = job.future.exception(20)
            if worker.failure and isinstance(error, GLDError):  # after two crashes nothing runs any more
                continue
            assert (error is None) == (how == "returns")
            if how == "returns":
                assert job.future.result() == number
            crashes += how == "crashes"
        assert order == sorted(order) and crashes <= 2
    finally:
        gate.set()
        assert worker.stop(20)
    assert all(job.future.done() for _, _, job in submitted)


def test_a_crash_is_told_and_survived_once():
    told = []
    worker = Worker(4, told.append)

    def crash(job):
        raise SystemExit("a library")

    for message in ("goes on, once", "configured again"):
        assert isinstance(worker.submit(crash).future.exception(20), GLDError)
        assert message in told[-1]
    worker._thread.join(20)
    with pytest.raises(GLDError, match="crashed 2 times"):
        worker.submit(crash)
    worker.start()
    assert worker.crashes == 0 and worker.submit(lambda job: 3).future.result(20) == 3
    assert worker.stop(20)
