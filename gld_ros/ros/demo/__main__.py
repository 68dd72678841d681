# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The demo: a camera node and `gld_node` in processes of their own, asked for poses the camera did not show.

`python -m gld_ros.ros.demo [--sequence PATH]`: without a sequence the simulated robot drives up to a corner, and most
of what is asked for lies where it has not looked. Writes report.json, results.html, scene.mcap, points.ply, pictures
and bag/, all that was on the topics, into out/NAME, prints a table, and fails unless all requested views came back;
those of the simulated robot generated to a quarter at least.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import time
from pathlib import Path

import rclpy
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from gld_ros import allocator
from gld_ros.data.rig import camera_topics
from gld_ros.errors import GLDError, InvalidRequest
from gld_ros.ros.client import ClientError, GLDClient
from gld_ros.ros.client_messages import ANSWERED
from gld_ros.ros.demo.processes import Processes, own_domain
from gld_ros.ros.demo.recorder import Recorder
from gld_ros.ros.demo.report import Answer, Outcome, message_table, write_demo_report
from gld_ros.ros.demo.scenario import Scenario, recorded_scenario, simulated_scenario

STARTUP, MODEL, PLAYING, REQUEST = 60.0, 180.0, 120.0, 120.0  # time limits of the parts, seconds
STALL = 20.0  # seconds without a frame, after the first, that end the waiting for more
PATH_VIEWS = 4
NODE = "/gld_node"


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m gld_ros.ros.demo", description=__doc__.split("\n")[0])
    parser.add_argument(
        "--sequence", help="bag, folder of frames and poses, or KIND:PATH?OPTION=VALUE; default: simulated robot"
    )
    parser.add_argument("--out", type=Path, help="folder to write (default: out/NAME of the sequence, or out/demo)")
    parser.add_argument("--model", default="mini", help="name or folder of the model (default %(default)s)")
    parser.add_argument(
        "--views", type=int, default=8, help="left-out poses of a sequence, at most (default %(default)s)"
    )
    parser.add_argument("--seeds", type=int, default=3, help="times each view is made (default %(default)s)")
    parser.add_argument("--rate", type=float, default=10.0, help="instants the camera publishes a second")
    parser.add_argument("--compressed", action="store_true", help="the camera publishes JPEG CompressedImage")
    parser.add_argument("--seed", type=int, default=0, help="first of the model's random numbers (default %(default)s)")
    parser.add_argument("--time-limit", type=float, default=540.0, help="of the whole demo, s (default %(default)s)")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run the demo; returns the exit code."""
    args = parse_arguments(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the children are ended, too
    try:
        if args.seeds < 1:
            raise InvalidRequest(f"--seeds {args.seeds}: at least 1 is expected")
        scenario = recorded_scenario(args.sequence, args.views) if args.sequence else simulated_scenario()
        return run(args, scenario, args.out or Path("out") / scenario.name)
    except GLDError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1


def run(args: argparse.Namespace, scenario: Scenario, out: Path) -> int:
    out.mkdir(parents=True, exist_ok=True)
    for old in ("report.json", "results.html", "scene.mcap", "sheet.png", "points.ply", "cloud.png"):
        (out / old).unlink(missing_ok=True)
    if (out / "bag").exists():
        shutil.rmtree(out / "bag")
    domain = own_domain(keep=True)  # neither another demo nor a robot on the network takes part
    started = time.monotonic()
    processes = Processes(out, started + args.time_limit)
    client: GLDClient | None = None
    recorder: Recorder | None = None
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    try:
        node = Node("gld_demo")
        recorder = Recorder(node, out / "bag")
        client = GLDClient(NODE, node, processes.check)
        _start(args, scenario, processes)
        print(f"demo: {scenario.name}, domain {domain}: waiting for the model", flush=True)
        client.transition("configure", MODEL)
        client.transition("activate", STARTUP)
        print(f"demo: gld_node is active after {time.monotonic() - started:.1f} s; the camera plays", flush=True)
        _wait_for_frames(client, recorder, scenario)
        print(f"demo: asking for {len(scenario.targets)} views, {args.seeds} times each", flush=True)
        outcome = _request(client, scenario, list(range(args.seed, args.seed + args.seeds)))
        client.wait_for_diagnostics(STARTUP)
        client.wait_for_diagnostics(STARTUP)  # the first may have been under way
        messages = message_table(NODE, client.counts, recorder.counts)
    finally:
        processes.stop()
        if recorder is not None:
            recorder.close()
        if client is not None:
            client.close()
        rclpy.try_shutdown()
    complete = write_demo_report(out, scenario, outcome, messages, args.model, time.monotonic() - started)
    return 0 if complete else 1


def _start(args: argparse.Namespace, scenario: Scenario, processes: Processes) -> None:
    names = scenario.camera_names
    topics = [camera_topics(name) for name in names]
    images = [topic.compressed if args.compressed else topic.image for topic in topics]
    processes.start(
        "camera",
        scenario.camera_module,
        {
            **scenario.camera_parameters,
            "rate": args.rate,
            "compressed": args.compressed,
            "publish_depth": False,
            "stamps": "recorded",
            "wait_for_subscribers": 2,  # gld_node and the recorder
            "settle": 1.0,
        },
    )
    processes.start(
        "gld_node",
        "gld_ros.ros.node.node",
        {
            "model": args.model,
            "image_topics": images,
            "camera_info_topics": [topic.camera_info for topic in topics],
            # Every frame shown is kept, so that sources around every target are at hand.
            "keyframe_translation": 0.0,
            "keyframe_rotation": 0.0,
            "map_enabled": True,  # for its clouds and grid in the bag
            "keyframe_max_age": 1e6,
            "context_capacity": max(64, len(scenario.sources)),
            "queue_depth": 20,
            "tf_timeout": 5.0,
        },
    )


def _wait_for_frames(client: GLDClient, recorder: Recorder, scenario: Scenario) -> None:
    """Until every frame has been published, or none for `STALL` seconds, and the node is done with what it received."""
    shown = [name for name, _ in scenario.sources]
    expected = {camera_topics(name).camera_info: shown.count(name) for name in scenario.camera_names}
    seen, since = 0, time.monotonic()

    def published() -> bool:
        nonlocal seen, since
        counts = [recorder.counts[topic] for topic in expected]
        if sum(counts) > seen:
            seen, since = sum(counts), time.monotonic()
        complete = all(count >= number for count, number in zip(counts, expected.values(), strict=True))
        return complete or (seen > 0 and time.monotonic() - since > STALL)

    client.wait(published, PLAYING, "frames of the camera")
    previous: dict[str, dict[str, int]] | None = None
    while previous is None or client.counts != previous:
        previous = client.counts
        client.wait_for_diagnostics(STARTUP)
    if not any(counts.get("key_frames") for counts in client.counts.values()):
        raise ClientError(f"gld_node took no frame into its context; its counts: {client.counts}")


def _request(client: GLDClient, scenario: Scenario, seeds: list[int]) -> Outcome:
    """The targets with every seed by the service, then a path by the action."""
    outcome = Outcome()
    for targets in scenario.requests:
        cameras = [scenario.targets[index].camera for index in targets]
        made, latencies = [], []
        for seed in seeds:
            try:
                answer = client.synthesize(cameras, seed=seed, timeout=REQUEST)
            except ANSWERED as error:
                outcome.errors.append(f"{error.code}: {error}")
                continue
            made.append(answer.views)
            latencies.append(answer.latency / len(targets))
        outcome.latencies += latencies
        for index, *views in zip(targets, *made, strict=True) if made else ():
            outcome.answers.append(Answer(index, views, latencies[0]))
    path = scenario.path(PATH_VIEWS)
    outcome.path_requested = len(path)
    try:
        result = client.synthesize_trajectory(path, seed=seeds[0], timeout=REQUEST)
    except ANSWERED as error:
        outcome.errors.append(f"trajectory: {error.code}: {error}")
        return outcome
    outcome.path, outcome.path_feedback = result.views, len(result.feedback)
    if result.error is not None:
        outcome.errors.append(f"trajectory: {result.error.code}: {result.error}")
    return outcome


if __name__ == "__main__":
    allocator.ensure()
    sys.exit(main())
