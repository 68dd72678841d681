# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""One thread that owns the model: a bounded queue of jobs, each with a cancel flag and a deadline. No ROS in here.

What a job raises is its own; what ends the thread nevertheless (SystemExit of a library) is survived once.
"""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from gld_ros.errors import Cancelled, ModelError, RequestTimeout

E = TypeVar("E", bound=BaseException)
T = TypeVar("T")
RESTARTS = 1  # of a worker; who crashes again needs help: `Worker.start`


def without_history(error: E) -> E:
    """`error`, to be kept as a value: without traceback and context. Those refer to the frames that were left, these to
    all they worked on, often to `error` again: images would stay in memory until the next garbage collection."""
    error.__traceback__ = error.__context__ = error.__cause__ = None
    return error


class Job:
    """Work handed to the worker; `future` gets its result or exception."""

    def __init__(self, work: Callable[[Job], Any], budget: float | None) -> None:
        self.future: Future[Any] = Future()
        self.arrived = self.progressed = time.monotonic()
        self.stage = "waiting"
        self.seconds: dict[str, float] = {}  # by stage
        self._work = work
        self._budget = budget
        self._reason: str | None = None

    def cancel(self, reason: str = "cancelled by the client") -> None:
        """End the job at its next step, or before it starts."""
        self._reason = reason

    def at(self, stage: str, detail: str = "") -> None:
        """To be called when something of that name is done: where the job is, and where its time goes."""
        now = time.monotonic()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self.progressed
        self.stage, self.progressed = stage + detail, now

    def check(self) -> None:
        """To be called between views: raises Cancelled or RequestTimeout once the job has to end."""
        self.check_cancelled()
        if self._budget is not None and self.elapsed > self._budget:
            raise RequestTimeout(f"the time budget of {self._budget:g} s ran out")

    def check_cancelled(self) -> None:
        """To be called between steps, where the pipeline looks at the time: raises Cancelled."""
        if self._reason is not None:
            raise Cancelled(self._reason)

    @property
    def left(self) -> float | None:
        """Seconds of the budget that are left, above 0; None without a budget."""
        return None if self._budget is None else max(self._budget - self.elapsed, 1e-3)

    @property
    def elapsed(self) -> float:
        """Seconds since the job arrived."""
        return time.monotonic() - self.arrived

    def run(self) -> None:
        """Do the work, unless the job has to end before it starts, and fill the future."""
        work = self._work
        del self._work  # who keeps the job must not keep the model that it works with
        try:
            self.check()
            self.at("queue")
            result = work(self)
        except Exception as error:  # whoever waits for the future decides what it means
            self.future.set_exception(without_history(error))
        else:
            self.future.set_result(result)


class Worker:
    """Runs jobs one after the other in its own thread; at most `capacity` wait.

    on_crash(message): told of what ended the thread. `crashes` counts that; after more than RESTARTS nothing runs any
    more, `failure` says why, and jobs end with ModelError.
    """

    def __init__(self, capacity: int, on_crash: Callable[[str], object] = lambda message: None) -> None:
        self.capacity = capacity
        self.crashes = 0
        self.failure = ""
        self._on_crash = on_crash
        self._waiting: deque[Job] = deque()
        self._running: Job | None = None
        self._stopped = False
        self._wake = threading.Condition()
        self._thread = threading.Thread()
        self.start()

    def start(self) -> None:
        """Start the thread, again if it crashed too often. Nothing to do for one that runs."""
        if self._thread.is_alive() or self._stopped:
            return
        self.crashes, self.failure = 0, ""
        self._thread = threading.Thread(target=self._supervised, name="gld_worker", daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[Job], Any], budget: float | None = None) -> Job:
        """Queue `work(job)`; `budget` in seconds. Raises Cancelled where the queue is full or the worker stopped, and
        ModelError where it crashed too often."""
        job = Job(work, budget)
        with self._wake:
            if self._stopped:
                raise Cancelled("the worker is stopped")
            if self.failure:
                raise ModelError(self.failure)
            if len(self._waiting) >= self.capacity:
                raise Cancelled(f"{self.capacity} requests wait already; try again later")
            self._waiting.append(job)
            self._wake.notify()
        return job

    def call(self, work: Callable[[], T], patience: float) -> T:
        """Run `work` in the worker's thread and return or raise what it does; blocks until then.

        Raises as `submit` does, and ModelError where another job keeps the worker for more than `patience` seconds."""
        job = self.submit(lambda job: work())
        end = time.monotonic() + patience
        while job.stage == "waiting" and not job.future.done():
            if time.monotonic() > end:
                job.cancel(reason := f"the worker is not free within {patience:g} s: {self.hangs(0)}")
                self.sweep()
                raise ModelError(reason)
            time.sleep(0.01)
        return job.future.result()

    @property
    def busy(self) -> bool:
        """True while a job runs."""
        return self._running is not None

    @property
    def waiting(self) -> int:
        """The number of jobs that wait."""
        return len(self._waiting)

    def hangs(self, timeout: float) -> str:
        """The phase of the running job, if it did not say for `timeout` seconds that it goes on; else empty."""
        job, thread = self._running, self._thread.ident
        if job is None or time.monotonic() - job.progressed <= timeout:
            return ""
        frame = sys._current_frames().get(thread) if thread is not None else None
        code = traceback.extract_stack(frame)[-1] if frame is not None else None
        where = f" (in {code.name}, {code.filename}:{code.lineno})" if code is not None else ""
        return f"no progress for {time.monotonic() - job.progressed:.0f} s after '{job.stage}'{where}"

    def sweep(self) -> None:
        """End jobs that were cancelled or ran out of time while waiting. To be called now and then."""
        with self._wake:
            jobs, self._waiting = self._waiting, deque()
            ended = []
            for job in jobs:
                try:
                    job.check()
                    self._waiting.append(job)
                except (Cancelled, RequestTimeout):
                    ended.append(job)
        for job in ended:
            job.run()

    def cancel_all(self, reason: str) -> None:
        """Cancel the running job and every waiting one."""
        with self._wake:
            for job in [*self._waiting, *([self._running] if self._running else [])]:
                job.cancel(reason)
        self.sweep()

    def stop(self, timeout: float) -> bool:
        """Cancel everything and end the thread; returns whether it ended within `timeout` seconds."""
        with self._wake:
            self._stopped = True
            self._wake.notify()
        self.cancel_all("the node shuts down")
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _supervised(self) -> None:
        while True:
            try:
                return self._loop()
            except BaseException as error:  # no Exception: those are results of jobs
                reason = f"{type(error).__name__}: {error}"
            with self._wake:
                self.crashes += 1
                ended = [job for job in [self._running] if job is not None]
                self._running = None
                if self.crashes > RESTARTS:
                    self.failure = f"the worker crashed {self.crashes} times, it has to be configured again: {reason}"
                    ended += self._waiting
                    self._waiting.clear()
            self._on_crash(self.failure or f"the worker crashed and goes on, once: {reason}")
            for job in ended:
                if not job.future.done():
                    job.future.set_exception(ModelError(f"the worker crashed: {reason}"))
            del ended
            if self.failure:
                return

    def _loop(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._waiting or self._stopped)
                if not self._waiting:
                    return
                self._running = job = self._waiting.popleft()
            job.run()
            with self._wake:
                self._running = None
            del job  # its arrays must not live until the next request
