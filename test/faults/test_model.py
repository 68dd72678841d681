# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Faults of the model: it raises, hangs, runs out of memory, or gives what is no view."""

import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from builtin_interfaces.msg import Duration
from patient import STAGES, Response

from gld_ros import errors
from gld_ros.pipeline import failed_request


class Unprintable(Exception):
    def __str__(self):
        raise ValueError("this exception cannot be printed")


def recursion():
    return recursion()


def raising(error):
    def fault():
        raise error

    return fault


def broken(**changes):
    """A view with some of its fields replaced; callables change what was there."""

    def change(views):
        (view,) = views
        new = {name: value(getattr(view, name)) if callable(value) else value for name, value in changes.items()}
        return [replace(view, **new)]

    return change


RAISED = {
    **{f"raises {kind.__name__}": (raising(kind("on purpose")), kind.code) for kind in (
        errors.NoContext, errors.TFError, errors.RequestTimeout, errors.InvalidRequest, errors.ModelError,
        errors.OutOfMemory, errors.Cancelled, errors.ScaleUnknown,
    )},
    "missing key in a checkpoint": (lambda: {}["weights"], "MODEL_ERROR"),
    "CUDA device-side assert": (raising(RuntimeError("CUDA error: device-side assert triggered")), "MODEL_ERROR"),
    "shapes that do not fit": (lambda: torch.ones(2, 3) @ torch.ones(2, 3), "MODEL_ERROR"),
    "endless recursion": (recursion, "MODEL_ERROR"),
    "division by zero": (lambda: 1 // 0, "MODEL_ERROR"),
    "StopIteration": (raising(StopIteration()), "MODEL_ERROR"),
    "an exception that cannot be printed": (raising(Unprintable()), "MODEL_ERROR"),
    "numpy out of memory": (lambda: np.zeros(2**50), "OUT_OF_MEMORY"),
    "CUDA out of memory": (raising(torch.OutOfMemoryError("CUDA out of memory")), "OUT_OF_MEMORY"),
    "torch out of CPU memory": (lambda: torch.zeros(2**50), "OUT_OF_MEMORY"),
}  # fmt: skip


@pytest.mark.parametrize("name", RAISED)
def test_raises(patient, name):
    fault, code = RAISED[name]
    patient.model.fault = lambda stage: fault() if stage == "level0" else None
    answer = patient.ask()
    assert answer.error_code == getattr(Response, code), answer.error_message
    assert answer.error_message and not answer.views and not answer.points.width
    assert "on purpose" in answer.error_message or not name.startswith("raises")
    patient.good()


RESULTS = {
    "no view": lambda views: [],
    "None": lambda views: None,
    "two views": lambda views: views * 2,
    "something else": lambda views: ["view"],
    "depth infinite": broken(depth=lambda d: d * np.inf),
    "depth negative": broken(depth=lambda d: -d),
    "depth of another size": broken(depth=lambda d: d[:-1]),
    "confidence NaN": broken(confidence=lambda c: c * np.nan),
    "confidence above 1": broken(confidence=lambda c: c + 1),
    "image of another size": broken(image=lambda i: i[:, :-1]),
    "image without channels": broken(image=lambda i: i[..., 0]),
    "image of floats, NaN": broken(image=lambda i: i * np.nan),
    "flags missing": broken(generated=None),
    "scale NaN": broken(scale=lambda s: replace(s, value=float("nan"))),
    "scale zero": broken(scale=lambda s: replace(s, value=0.0)),
}


@pytest.mark.parametrize("name", RESULTS)
def test_gives_no_view(patient, name, capsys):
    """MODEL_ERROR, and the request is kept: it can be asked again."""
    patient.model.result = RESULTS[name]
    answer = patient.ask(seed=9)
    assert answer.error_code == Response.MODEL_ERROR and not answer.views
    newest = sorted(patient.failures.glob("request_*.npz"))[-1]
    assert str(newest) in answer.error_message
    assert len(list(patient.failures.glob("*.npz"))) <= 3
    failed = failed_request.load(newest)
    assert failed.settings["seed"] == 9 and failed.reason in answer.error_message
    patient.model.heal()
    failed_request.main(str(newest), "model")
    assert f"{len(failed.sources)} sources, 1 targets" in (said := capsys.readouterr().out)
    assert "now: 1 views by 'model'" in said and failed.reason in said
    patient.good()


@pytest.mark.parametrize("stage", STAGES)
def test_too_little_memory_is_answered_with_less(patient, stage):
    """Once for all sources, once for two: a smaller picture fits."""
    patient.good()

    def fault(now):
        if now == stage and patient.model.asked[-1][1] is None:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    patient.model.fault = fault
    patient.model.asked.clear()
    made = patient.gld_node.fallbacks.degraded
    assert patient.ask().error_code == Response.NONE
    assert [size for _, size in patient.model.asked] == [None, None, (24, 32)]
    assert patient.model.asked[-1][0] == 2 < patient.model.asked[0][0]
    assert patient.gld_node.fallbacks.degraded == made + 1
    patient.good()


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_the_worker_crashes(patient, kind):
    """Once it goes on, twice it needs to be configured again: a named answer, an error in the diagnostics."""
    patient.restart()
    patient.good()
    patient.model.fault = lambda stage: raising(kind("a library ends the process"))()
    assert patient.ask().error_code == Response.MODEL_ERROR
    patient.diagnosed("warn", "the worker crashed 1 times")
    patient.good()
    patient.model.fault = lambda stage: raising(kind("once more"))()
    assert patient.ask().error_code == Response.MODEL_ERROR
    patient.diagnosed("error", "it has to be configured again")
    answer = patient.ask()
    assert answer.error_code == Response.MODEL_ERROR and "crashed 2 times" in answer.error_message
    patient.model.heal()
    assert all(patient.restart())
    patient.good()


@pytest.mark.parametrize("stage", STAGES)
def test_hangs(patient, stage):
    """The watchdog says in which stage; the answer comes when it goes on."""
    patient.good()
    release = threading.Event()
    patient.model.fault = lambda now: release.wait(60) if now == stage else None
    patient.statuses.clear()
    waiting = patient.submit(patient.pose(patient.x))
    before = {**dict(zip(STAGES[1:], STAGES, strict=False)), "encode": "sources"}[stage]
    patient.diagnosed("error", f"after '{before}")
    release.set()
    assert patient.result(waiting).error_code == Response.NONE
    patient.good()
    patient.statuses.clear()
    patient.diagnosed("ok", "active")


@pytest.mark.parametrize("stage", STAGES)
def test_cancel(patient, stage):
    """In each stage, and by deactivating."""
    patient.good()
    reached, release = threading.Event(), threading.Event()
    patient.model.fault = lambda now: (reached.set(), release.wait(60)) if now == stage else None
    handle = patient.goal(patient.pose(patient.x))
    assert reached.wait(60)
    assert patient.result(handle.cancel_goal_async()).goals_canceling
    release.set()
    assert patient.result(handle.get_result_async()).result.error_code == Response.CANCELLED
    patient.good()


def test_is_deactivated_while_it_hangs(patient):
    patient.good()
    reached, release = threading.Event(), threading.Event()
    patient.model.fault = lambda stage: (reached.set(), release.wait(60))
    waiting = patient.submit(patient.pose(patient.x))
    assert reached.wait(60)
    assert patient.transition(4)
    assert patient.ask().error_code == Response.NOT_ACTIVE
    release.set()
    answer = patient.result(waiting)
    assert answer.error_code == Response.CANCELLED and "deactivated" in answer.error_message
    assert patient.transition(3)
    patient.good()


LOADING = {
    "ends the process": SystemExit(3),
    "too little memory": torch.OutOfMemoryError("CUDA out of memory"),
    "wrong checksum": errors.ModelError("model.safetensors: sha256 is 0, expected 1"),
    "no driver": RuntimeError("Found no NVIDIA driver on your system"),
}


@pytest.mark.parametrize("name", LOADING)
def test_cannot_be_loaded(patient, name):
    """configure fails with the reason; so it does for a model that is not there; the next one works."""
    patient.good()
    assert patient.set_parameter("model", "other") == "model cannot change while the node is active"
    patient.model.fault = lambda stage: raising(LOADING[name])()
    assert patient.restart(4, 2, 1) == [True, True, False]
    assert patient.ask().error_code == Response.NOT_ACTIVE
    patient.model.heal()
    assert patient.set_parameter("model", str(patient.failures / "nothing")) == ""
    assert not patient.transition(1)
    assert patient.set_parameter("model", "model") == ""
    assert patient.restart(1, 3) == [True, True]
    patient.good()


def test_forgetting_fails(patient, monkeypatch):
    """After too little memory, and when deactivated."""
    monkeypatch.setattr(patient.model, "forget", raising(RuntimeError("CUDA error: unspecified launch failure")))
    patient.model.fault = lambda stage: raising(MemoryError())()
    assert patient.ask().error_code in (Response.MODEL_ERROR, Response.OUT_OF_MEMORY)
    patient.model.heal()
    assert all(patient.restart())
    patient.good()


def test_a_request_waits_out_its_time_behind_one_that_hangs(patient):
    patient.good()
    release = threading.Event()
    patient.model.fault = lambda stage: release.wait(60)
    hanging = patient.submit(patient.pose(patient.x))
    time.sleep(0.1)
    late = patient.submit(patient.pose(patient.x), time_budget=Duration(nanosec=200_000_000))
    assert patient.result(late).error_code == Response.TIMEOUT
    release.set()
    patient.result(hanging)
    patient.good()
