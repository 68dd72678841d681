# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Workers on Ray: an instance of one's own or a cluster, one actor for each share of CPU cores or GPUs.

Ray starts an actor again that was lost and gives it the same sequence again, `TRIES` times in all.
"""

from __future__ import annotations

import logging
import os
import socket
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from gld_ros import allocator
from gld_ros.batch.maker import Made, Maker
from gld_ros.batch.sequences import Item
from gld_ros.batch.settings import BatchSettings
from gld_ros.errors import InvalidRequest, ModelError
from gld_ros.extras import require

TRIES = 3
STORE = 100_000_000  # bytes of Ray's object store; only names and counts go through it


@contextmanager
def ray_instance(address: str | None = None, cores: int | None = None) -> Iterator[None]:
    """Ray of the cluster at `address`, or an instance of this machine that ends with the context. One that this process
    has already is used and left as it is.

    cores: that the own instance counts with. Raises InvalidRequest without the extra `batch`, and for an address where
    no cluster is.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    require("batch", "gld batch")
    import ray

    if ray.is_initialized():
        yield
        return
    if address:
        try:
            _check_there(address)
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            raise InvalidRequest(f"--address {address}: no Ray cluster is there ({error})") from None
    else:
        with _own_environment():
            ray.init(
                address="local", num_cpus=cores or len(os.sched_getaffinity(0)), object_store_memory=STORE,
                include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR,
            )  # fmt: skip
    try:
        yield
    finally:
        ray.shutdown()


def _check_there(address: str) -> None:
    """Raise OSError where nothing listens at `[ray://]HOST:PORT`: Ray would wait for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=10).close()


@contextmanager
def _own_environment() -> Iterator[None]:
    """The environment that Ray's servers start in: without the allocator's settings, which are for torch and not for
    servers with many threads; workers are as urgent as this process, not of niceness 15."""
    kept = dict(os.environ)
    os.environ.setdefault("RAY_worker_niceness", "0")
    for name in allocator.SETTINGS:
        os.environ.pop(name, None)
    try:
        yield
    finally:
        for name in ("RAY_worker_niceness", *allocator.SETTINGS):
            os.environ.pop(name, None)
            os.environ.update({name: kept[name]} if name in kept else {})


def gpus_there() -> bool:
    """True if the instance has GPUs."""
    import ray

    return ray.cluster_resources().get("GPU", 0) > 0


@contextmanager
def workers(settings: BatchSettings, origin: dict[str, Any]) -> Iterator[list[Any]]:
    """As many actors as the settings ask for, or as there is room for; all have loaded the model, and end with the
    context.

    Raises InvalidRequest where there is no room for so many, and what `Maker.ready` raises.
    """
    import ray

    room = _room(settings)
    count = settings.workers or room
    if not 0 < count <= room:
        share = f"{settings.threads} CPU cores" + (f" and {settings.gpus:g} GPUs" if settings.gpus else "")
        raise InvalidRequest(f"{count or 'no'} workers with {share} each: there is room for {room}")
    # Ray would choose the number of threads itself.
    environment = {**allocator.SETTINGS, "OMP_NUM_THREADS": str(settings.threads)}
    actor: Any = ray.remote(Maker)
    actor = actor.options(
        num_cpus=settings.threads, num_gpus=settings.gpus or 0, max_restarts=-1, max_task_retries=TRIES - 1,
        runtime_env={"env_vars": environment},
    )  # fmt: skip
    started = [actor.remote(settings, origin) for _ in range(count)]
    try:
        ray.get([worker.ready.remote() for worker in started])
        yield started
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    except ray.exceptions.RayActorError as error:
        raise ModelError(f"a worker was lost while it loaded the model: {_first_line(error)}") from None
    finally:
        for worker in started:
            ray.kill(worker)


def _room(settings: BatchSettings) -> int:
    """Workers that the nodes have room for."""
    import ray

    def places(resources: dict[str, float]) -> int:
        count = resources.get("CPU", 0) // settings.threads
        return int(min(count, resources.get("GPU", 0) // settings.gpus) if settings.gpus else count)

    return sum(places(node["Resources"]) for node in ray.nodes() if node["Alive"])


def make_all(started: list[Any], items: Iterable[Item]) -> Iterator[Made]:
    """The outcomes of the sequences, in the order in which they are done; each worker has one at a time."""
    import ray

    waiting, idle = deque(items), list(started)
    running: dict[Any, tuple[Any, Item]] = {}
    while waiting or running:
        while waiting and idle:
            worker, item = idle.pop(), waiting.popleft()
            running[worker.make.remote(item)] = worker, item
        (done,), _ = ray.wait(list(running))
        worker, item = running.pop(done)
        try:
            yield ray.get(done)
        except ray.exceptions.RayError as error:
            yield Made(item.name, error=f"its worker was lost {TRIES} times: {_first_line(error)}")
        idle.append(worker)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
