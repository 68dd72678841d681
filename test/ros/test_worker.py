# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The worker thread: order, bounds, cancel, deadlines; and the errors a request can end with."""

import gc
import threading
import weakref
from functools import partial

import numpy as np
import pytest
import tf2_ros
import torch

from gld_ros.errors import Cancelled, ModelError, RequestTimeout
from gld_ros.geometry.cameras import Camera
from gld_ros.pipeline.context import KeyFrameBuffer
from gld_ros.pipeline.views import SourceView
from gld_ros.ros.parameters import Parameters
from gld_ros.ros.poses import TFPoses
from gld_ros.ros.synthesis import Synthesizer, ViewRequest
from gld_ros.ros.worker import Worker

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


def test_an_exception_ends_the_job_not_the_worker(worker):
    assert isinstance(worker.submit(lambda job: 1 / 0).future.exception(PATIENCE), ZeroDivisionError)
    assert worker.submit(lambda job: 7).future.result(PATIENCE) == 7


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


def test_stop_cancels_everything():
    worker = Worker(capacity=2)
    running, _ = busy(worker)
    waiting = worker.submit(lambda job: None)
    assert worker.stop(PATIENCE)
    for job in (running, waiting):
        assert isinstance(job.future.exception(0), Cancelled)
    with pytest.raises(Cancelled, match="stopped"):
        worker.submit(lambda job: None)


def failed(worker, error, context=None):
    """The result of a request whose model raises `error`."""

    class Failing:
        max_sources = 2

        def __call__(self, *_, **__):
            raise error

        def smaller_sizes(self, camera):
            return [(56, 56)]

        def forget(self):
            pass

    camera = Camera(np.array([[100.0, 0, 80], [0, 100, 60], [0, 0, 1]]), np.eye(4), 160, 120)
    context = KeyFrameBuffer() if context is None else context
    context.add("camera", SourceView(np.zeros((120, 160, 3), np.uint8), camera, 5))
    synthesizer = Synthesizer(Failing(), context, TFPoses(tf2_ros.Buffer(), "map"), Parameters)
    request = ViewRequest((("map", 0, np.eye(4)),), None, 0, None)
    return worker.submit(lambda job: synthesizer.run(request, job, lambda view, stamp: None)).future.result(PATIENCE)


@pytest.mark.parametrize(
    "error, code",
    [
        (torch.OutOfMemoryError("CUDA out of memory"), "OUT_OF_MEMORY"),
        (MemoryError("no memory"), "OUT_OF_MEMORY"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried ..."), "OUT_OF_MEMORY"),
        (RuntimeError("shapes do not fit"), "MODEL_ERROR"),
        (RequestTimeout("too late"), "TIMEOUT"),
    ],
)
def test_whatever_the_model_raises_becomes_a_named_error(worker, error, code):
    result = failed(worker, error)
    assert result.error.code == code and str(error)[:10] in str(result.error)
    assert result.views == []


def test_a_failed_request_keeps_no_image(worker):
    context = KeyFrameBuffer()
    gc.collect()
    gc.disable()
    try:
        result = failed(worker, RequestTimeout("too late"), context)
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
