# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The worker thread: order, bounds, cancel, deadlines; and the errors a request can end with."""

import gc
import threading
import weakref
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import tf2_ros
from hypothesis import given, settings
from hypothesis import strategies as st

from gld_ros.errors import Cancelled, GLDError, ModelError, RequestTimeout
from gld_ros.geometry.cameras import Camera
from gld_ros.ros.node.parameters import Parameters
from gld_ros.ros.node.poses import TFPoses
from gld_ros.ros.node.synthesizer import Result, Synthesizer, ViewRequest
from gld_ros.ros.node.worker import Worker
from gld_ros.scene.key_frames import KeyFrameBuffer
from gld_ros.views import Progress, Scale, SourceView, View

PATIENCE = 20


@pytest.fixture
def worker():
    worker = Worker(capacity=2)
    yield worker
    assert worker.stop(PATIENCE)


def busy(worker):
    """A job that runs until the returned event is set, checking as the pipeline's callback does."""
    started, release = threading.Event(), threading.Event()

    def work(job):
        started.set()
        while not release.wait(0.01):
            job.check()
        return "done"

    job = worker.submit(work)
    assert started.wait(PATIENCE)
    return job, release


def test_jobs_run_one_after_the_other(worker):
    order = []
    job, release = busy(worker)
    jobs = [worker.submit(lambda job, i=i: order.append(i)) for i in range(2)]
    with pytest.raises(Cancelled, match="2 requests wait already"):
        worker.submit(lambda job: None)
    assert worker.busy and not order
    release.set()
    assert job.future.result(PATIENCE) == "done"
    for other in jobs:
        other.future.result(PATIENCE)
    assert order == [0, 1]


def test_cancel_and_deadline_at_work_and_in_wait(worker):
    running, _ = busy(worker)
    waiting = worker.submit(lambda job: None)
    late = worker.submit(lambda job: None, budget=0.0)
    waiting.cancel()
    worker.sweep()
    assert not running.future.done()
    assert isinstance(waiting.future.exception(PATIENCE), Cancelled)
    assert isinstance(late.future.exception(PATIENCE), RequestTimeout)
    running.cancel("enough")
    with pytest.raises(Cancelled, match="enough"):
        running.future.result(PATIENCE)


def test_a_call_waits_for_its_turn_and_gives_what_the_work_gives(worker):
    _, release = busy(worker)
    threading.Timer(0.1, release.set).start()
    thread = worker.call(threading.current_thread, PATIENCE)
    assert thread.name == "gld_worker"
    with pytest.raises(ZeroDivisionError):
        worker.call(lambda: 1 / 0, PATIENCE)


def test_a_call_does_not_wait_for_a_job_that_hangs(worker):
    _, release = busy(worker)
    called = threading.Event()
    with pytest.raises(ModelError, match="not free within 0.1 s: no progress for .* s after 'queue'"):
        worker.call(called.set, 0.1)
    release.set()
    worker.call(lambda: None, PATIENCE)
    assert not called.is_set()


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


def test_stop_cancels_everything():
    worker = Worker(capacity=2)
    running, _ = busy(worker)
    waiting = worker.submit(lambda job: None)
    assert worker.stop(PATIENCE)
    for job in (running, waiting):
        assert isinstance(job.future.exception(0), Cancelled)
    with pytest.raises(Cancelled, match="stopped"):
        worker.submit(lambda job: None)


CAMERA = Camera(np.array([[100.0, 0, 80], [0, 100, 60], [0, 0, 1]]), np.eye(4), 160, 120)
HERE = ("map", 0, np.eye(4))


class Model:
    """Gives grey views. meanwhile(sources): what happens while it is at work."""

    max_sources, name, calibrated = 4, "model", False

    def __init__(self, meanwhile=lambda sources: None, max_views=0):
        self._meanwhile, self.max_views = meanwhile, max_views
        self.asked = []  # sources, targets and time budget of each call
        self.earlier = []  # where the earlier views of each call stand

    def __call__(self, sources, targets, callback, time_budget=None, earlier=(), **_):
        self.asked.append((len(sources), len(targets), time_budget))
        self.earlier.append([round(view.camera.center[0], 6) for view in earlier])
        self._meanwhile(sources)
        callback(Progress("level1", 1, 2, 0.5))
        return [self._view(target, tuple(source.stamp for source in sources)) for target in targets]

    def _view(self, target, stamps):
        size = target.height, target.width
        image, ones, generated = np.full((*size, 3), 9, np.uint8), np.ones(size, np.float32), np.zeros(size, bool)
        return View(target, image, ones, ones, generated, Scale(1.0, "stereo", 0.0), self.name, 0, stamps)

    def smaller_sizes(self, camera):
        return [(56, 56)]

    def forget(self):
        pass


def context_of(*places):
    """Of key frames side by side, at these x."""
    context = KeyFrameBuffer()
    for number, x in enumerate(places):
        c2w = np.eye(4)
        c2w[0, 3] = x
        context.add("camera", SourceView(np.zeros((120, 160, 3), np.uint8), CAMERA.moved(c2w), 5 + number))
    return context


def shared(context, **parameters):
    """What a synthesizer takes of `Shared`."""
    return SimpleNamespace(key_frames=context, parameters=Parameters(**parameters))


def run(
    worker,
    model,
    context,
    *poses,
    budget=None,
    on_view=lambda view, stamp: None,
    on_progress=lambda index, progress: None,
    review=None,
    **parameters,
):
    """The result of a request for views at `poses`."""
    tf = TFPoses(tf2_ros.Buffer(), "map")
    review = review or (lambda view, sources: view)
    synthesizer = Synthesizer(shared(context, **parameters), model, tf, review)
    request = ViewRequest(poses or (HERE,), None, 0, budget)
    job = worker.submit(lambda job: synthesizer.run(request, job, on_view, on_progress), budget)
    return job.future.result(PATIENCE)


def test_a_failed_request_keeps_no_image(worker):
    def fail(sources):
        raise RequestTimeout("too late")

    context = context_of(0.0)
    gc.collect()
    gc.disable()
    try:
        result = run(worker, Model(fail), context)
        frame = weakref.ref(context.frames()[0])
        context.clear()
        assert result.error is not None and frame() is None
    finally:
        gc.enable()


def test_a_cancelled_job_keeps_nothing(worker):
    class Picture:
        pass

    def work(job, picture):
        job.cancel()
        job.check()

    gc.collect()
    gc.disable()
    try:
        picture = Picture()
        kept = weakref.ref(picture)
        job = worker.submit(partial(work, picture=picture))
        assert isinstance(job.future.exception(PATIENCE), Cancelled)
        del job, picture
        worker.submit(lambda job: None).future.result(PATIENCE)  # the thread itself has let go by then
        assert kept() is None
    finally:
        gc.enable()


def test_a_job_that_is_kept_does_not_keep_what_it_worked_with(worker):
    class Weights:
        pass

    weights = Weights()
    kept = weakref.ref(weights)
    job = worker.submit(partial(lambda weights, job: "done", weights))
    assert job.future.result(PATIENCE) == "done"
    del weights
    worker.submit(lambda job: None).future.result(PATIENCE)
    assert kept() is None


@pytest.mark.parametrize("jump", [KeyFrameBuffer.clear, lambda context: context.replace(lambda name, view: view)])
def test_what_was_made_of_frames_that_moved_meanwhile_is_no_answer(worker, jump):
    context, told = context_of(0.0, 0.2), []
    jumps = iter([lambda: None, lambda: jump(context)])  # while the second view is made
    result = run(
        worker,
        Model(lambda sources: next(jumps)(), max_views=3),
        context,
        HERE,
        HERE,
        on_view=lambda view, stamp: told.append("view"),
        review=lambda view, sources: told.append("review") or view,
    )
    assert (result.error.code, result.views, result.stamps) == ("CANCELLED", [], [])
    assert told == ["review", "view"]  # of the first


def test_a_view_of_fewer_sources_is_reviewed_with_those(worker):
    def short(sources):
        if len(sources) > 2:
            raise MemoryError("no memory")

    reviewed = []

    def review(view, sources):
        reviewed.append([source.stamp for source in sources])
        return view

    result = run(worker, Model(short), context_of(0.0, 0.2, 0.4), review=review, max_sources=3)
    assert result.error is None
    (stamps,) = reviewed
    assert len(stamps) == 2 and stamps == list(result.views[0].source_stamps)


def at(x, turned=0.0):
    """A pose at x metres, turned about the vertical by so many radians."""
    c2w = np.eye(4)
    c2w[:3, :3] = [[np.cos(turned), 0, np.sin(turned)], [0, 1, 0], [-np.sin(turned), 0, np.cos(turned)]]
    c2w[0, 3] = x
    return ("map", 0, c2w)


def test_poses_of_a_request_are_generated_together_as_many_as_the_model_takes(worker):
    """In the order of the poses, in shares of the time; the progress is that of the whole request. Windows after the
    first are given the views that show most of what they look at."""
    model, seen, progress = Model(max_views=6), [], []
    poses = [at(0.02 * i) for i in range(7)]
    result = run(
        worker,
        model,
        context_of(0.0, 0.2),
        *poses,
        budget=PATIENCE,
        on_view=lambda view, stamp: seen.append(view.camera.center[0]),
        on_progress=lambda index, progressed: progress.append((index, progressed.fraction)),
    )
    assert result.error is None and seen == [pose[2][0, 3] for pose in poses]
    assert [asked[:2] for asked in model.asked] == [(2, 4), (2, 2), (2, 1)]
    assert [len(earlier) for earlier in model.earlier] == [0, 2, 2]
    assert 0.06 in model.earlier[1] and 0.1 in model.earlier[2]  # the nearest
    assert progress == [(0, pytest.approx(2 / 7)), (4, pytest.approx(5 / 7)), (6, pytest.approx(6.5 / 7))]
    budgets = [asked[2] / PATIENCE for asked in model.asked]
    assert budgets == [pytest.approx(share, rel=0.2) for share in (4 / 7, 2 / 3, 1)]


def test_poses_that_other_sources_support_are_generated_apart(worker):
    model = Model()
    context = context_of(0.0, 0.2)
    for number, x in enumerate((0.0, 0.2)):  # looking back
        context.add("behind", SourceView(np.zeros((120, 160, 3), np.uint8), CAMERA.moved(at(x, np.pi)[2]), 50 + number))
    poses = [at(0.05), at(0.1), at(0.05, np.pi), at(0.1, np.pi)]
    result = run(worker, model, context, *poses)
    assert [asked[:2] for asked in model.asked] == [(2, 2), (2, 2)]
    assert [set(view.source_stamps) for view in result.views] == [{5, 6}] * 2 + [{50, 51}] * 2


def test_a_budget_or_memory_for_fewer_views_is_answered_in_parts(worker):
    model = Model()
    whole = Model.__call__
    model.__class__ = type("Half", (Model,), {"__call__": lambda self, *args, **kw: whole(self, *args, **kw)[:2]})
    result = run(worker, model, context_of(0.0, 0.2), *[at(0.01 * i) for i in range(5)])
    assert len(result.views) == 5 and [asked[1] for asked in model.asked] == [5, 2, 1]
    model = Model()
    model._meanwhile = lambda sources: model.asked[-1][1] == 1 or np.zeros(2**50)
    result = run(worker, model, context_of(0.0, 0.2), *[at(0.01 * i) for i in range(3)])
    assert len(result.views) == 3 and [asked[1] for asked in model.asked] == [3, 1, 1, 1]


def test_waiting_for_tf_ends_with_the_budget_and_with_the_job(worker):
    nowhere = ("nowhere", 0, np.eye(4))
    result = run(worker, Model(), context_of(0.0), nowhere, budget=0.2, tf_timeout=1e3)
    assert result.error.code == "TIMEOUT"
    synthesizer = Synthesizer(shared(context_of(0.0), tf_timeout=1e3), Model(), TFPoses(tf2_ros.Buffer(), "map"))
    started = threading.Event()

    def work(job) -> Result:
        started.set()
        return synthesizer.run(ViewRequest((nowhere,), None, 0, None), job, lambda view, stamp: None)

    job = worker.submit(work)
    assert started.wait(PATIENCE)
    job.cancel()
    assert job.future.result(PATIENCE).error.code == "CANCELLED"
    assert run(worker, Model(), context_of(0.0), nowhere, tf_timeout=0.1).error.code == "TF_ERROR"


def test_views_of_the_cameras_own_size_are_bounded_too(worker):
    context = context_of(0.0)
    large = Camera(CAMERA.K * [[20], [20], [1]], np.eye(4), 3200, 2400)
    context.add("large", SourceView(np.broadcast_to(np.uint8(0), (2400, 3200, 3)), large, 9))
    result = run(worker, Model(), context, *[HERE] * 9)
    assert result.error.code == "INVALID_REQUEST" and "9 views of 3200x2400 pixels" in str(result.error)
    assert run(worker, Model(), context, *[HERE] * 2).error is None
