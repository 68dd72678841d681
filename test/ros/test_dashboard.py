# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The dashboard against a running robot, in a real browser.

`DASHBOARD_PNG=docs/images/dashboard.png pytest test/ros/test_dashboard.py` makes the picture of docs/dashboard.md.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import rclpy
from browser import Browser, find_browser
from PIL import Image
from robot import PATIENCE
from scipy.spatial.transform import Rotation

from gld_ros.data.rig import camera_topics
from gld_ros.data.simulation import Robot
from gld_ros.errors import GLDError
from gld_ros.ros.client import GLDClient
from gld_ros.ros.dashboard.scene import OCCUPIED
from gld_ros.ros.demo.processes import Processes
from gld_ros.srv import SynthesizeViews

pytest.importorskip("viser", reason="viser is not installed: pip install 'viser>=1.1,<1.2'")

PNG = os.environ.get("DASHBOARD_PNG")
SEED, FRAMES = 1_000_000_007, 30
# Of the robot's images, and of the browser's window: large ones are slow without a GPU.
SIZE, WINDOW = ((320, 240), (1600, 1150)) if PNG else ((192, 144), (1100, 700))
ASKED = 12  # frame of the drive
TOPICS = camera_topics("camera")
MAP = ("Map: observed", "Map: generated", "Map: grid")
ANSWER = ("Observed points", "Generated points", "Key frames (green)", "Asked for (orange)")


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def wanted_camera():
    """One that the robot did not have: it looks 0.8 rad to the left of a frame of the drive."""
    camera = Robot(SEED, FRAMES, *SIZE).cameras[ASKED]
    c2w = camera.c2w.copy()
    c2w[:3, :3] = Rotation.from_rotvec([0, 0, 0.8]).as_matrix() @ c2w[:3, :3]
    return camera.moved(c2w)


@pytest.fixture(scope="module")
def processes(tmp_path_factory):
    processes = Processes(tmp_path_factory.mktemp("processes"), time.monotonic() + 10 * PATIENCE)
    yield processes
    processes.stop()


@pytest.fixture(scope="module")
def url(processes):
    """Of the dashboard. The camera drives through its room until it is ended, gld_node is active."""
    width, height = SIZE
    processes.start(
        "camera",
        "gld_ros.ros.drivers.sim_camera",
        {"seed": SEED, "frames": FRAMES, "width": width, "height": height, "loop": True, "wait_for_subscribers": 1,
         "publish_depth": False},
    )  # fmt: skip
    processes.start(
        "gld_node",
        "gld_ros.ros.node.node",
        {"image_topics": [TOPICS.image], "camera_info_topics": [TOPICS.camera_info], "autostart": True,
         "diagnostics_period": 0.3, "map_enabled": True, "map_rate": 0.5, "map_voxel_size": 0.1,
         "map_generated_lifetime": 1000.0, "map_confirmations": 0, "map_min_confidence": 0.3},
    )  # fmt: skip
    port = free_port()
    processes.start("dashboard", "gld_ros.ros.dashboard.node", {"port": port, "silence": 3.0})
    return f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def client(processes):
    client = GLDClient("/gld_node", rclpy.create_node("dashboard_test"), processes.check)
    yield client
    client.close()


@pytest.fixture(scope="module")
def browser(url, client, tmp_path_factory):
    """With the page open, once the robot answered a request."""
    if find_browser() is None:
        pytest.skip("no chromium, chromium-browser or google-chrome here")
    client.wait(lambda: client.counts.get(TOPICS.image, {}).get("posed", 0) > FRAMES, 2 * PATIENCE, "a whole drive")
    assert client.node.count_subscribers("/gld_node/views") == 0  # nobody looks
    browser = Browser(url, tmp_path_factory.mktemp("browser") / "profile", *WINDOW)
    client.wait(lambda: client.node.count_subscribers("/gld_node/views"), PATIENCE, "subscription to ~/views")
    browser.asked = 0
    ask(browser, client)
    yield browser
    browser.close()


def ask(browser, client, turn=0):
    """A request, `turn` degrees beside the wanted camera; the newest answer and their number stay with the browser."""
    camera, angle = wanted_camera(), np.radians(turn)
    beside = np.eye(4)
    beside[:3, :3] = [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]
    try:
        browser.answer = client.synthesize(camera.moved(camera.c2w @ beside), timeout=PATIENCE)
        browser.asked += 1
    except GLDError:
        if not turn:
            raise


def pictures(browser):
    """Titles of the pictures that are loaded, with the brightness and contrast of each."""
    return browser.evaluate(
        """[...document.querySelectorAll('img')].filter(i => i.src.startsWith('blob:') && i.naturalWidth).map(image => {
            const canvas = document.createElement('canvas'), context = canvas.getContext('2d');
            [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
            context.drawImage(image, 0, 0);
            const values = context.getImageData(0, 0, canvas.width, canvas.height).data.filter((_, i) => i % 4 == 0);
            const mean = values.reduce((a, b) => a + b, 0) / values.length;
            const spread = Math.sqrt(values.reduce((a, b) => a + (b - mean) ** 2, 0) / values.length);
            return [image.parentElement.parentElement.innerText.trim(), mean, spread];
        })"""
    )


def tinted(browser):
    """Pixels in the middle of the screen in the colours of observed and of generated points."""
    middle = browser.screenshot()[:, 360:-360].astype(int)
    red, green, blue = np.moveaxis(middle, -1, 0)
    return int(((green > 1.8 * red) & (green > 1.2 * blue)).sum()), int(
        ((red > 1.4 * green) & (green > 2 * blue)).sum()
    )


def dark(browser):
    """Pixels in the middle of the screen in the colour of the grid's obstacles."""
    return int((np.abs(browser.screenshot()[:, 360:-360].astype(int) - OCCUPIED).max(axis=-1) < 12).sum())


def published(browser):
    """Messages of the map's generated layer, as the page says."""
    return int(re.search(r"/gld_node/map/generated\t\d+\t(\d+)", browser.text("#topics"))[1])


def clicked(browser, *labels):
    """Click as fast as a person may: of several clicks in one moment viser's page sends the first and the last."""
    for label in labels:
        browser.click(label)
        time.sleep(0.5)


def test_pictures_are_shown(browser):
    found = browser.wait(lambda: len(shown := pictures(browser)) == 4 and shown, "four pictures")
    titles = [title for title, _, _ in found]
    assert any(TOPICS.image in title for title in titles), titles
    for part in ("synthesized: by mini, seed 0", "generated (orange", "depth, "):
        assert sum(part in title for title in titles) == 1, titles
    for title, mean, spread in found:
        assert mean > 20 and spread > 10, f"{title} is black or empty"


def test_camera_is_live(browser):
    script = "[...document.querySelectorAll('img')].find(i => i.src.startsWith('blob:')).src"
    before = browser.evaluate(script)
    browser.wait(lambda: browser.evaluate(script) != before, "the next image")


def test_cloud_has_points_of_both_kinds(browser):
    text = browser.wait(lambda: browser.text("#points"), "the cloud")
    observed, generated = (int(number.replace(",", "")) for number in re.findall(r"\d[\d,]*", text))
    flags = browser.answer.points["generated"]
    assert (observed, generated) == ((flags == 0).sum(), (flags > 0).sum())
    assert observed > 10_000 and generated > 1000
    clicked(browser, *MAP)
    browser.wait(lambda: min(tinted(browser)) > 4000, "points on the screen")  # frusta alone are fewer
    before = tinted(browser)
    clicked(browser, "Generated points")
    browser.wait(lambda: tinted(browser)[1] < before[1] / 4, "generated points to vanish")
    assert tinted(browser)[0] > before[0] / 2
    clicked(browser, "Generated points", *MAP)


def test_the_maps_layers_can_be_told_apart(browser, client):
    asked, turns = time.monotonic(), iter([25, -25, 50, -50, 75, -75, 100, -100, 130, -130] * 2)

    def sizes():
        nonlocal asked
        found = [int(number.replace(",", "")) for number in re.findall(r"\d[\d,]*", browser.text("#map"))]
        if len(found) == 2 and found[0] > 5000 and found[1] > 100:
            return True
        if time.monotonic() > asked + 4:  # the drive may have seen all that the first view made up
            ask(browser, client, next(turns))
            asked = time.monotonic()
        return False

    browser.wait(sizes, "a map of both layers")
    if PNG:
        browser.evaluate("document.querySelector('.mantine-Notification-closeButton')?.click()")  # no GPU here
        browser.evaluate("document.querySelector('#verdict').scrollIntoView()")
        time.sleep(2)
        picture = Image.fromarray(browser.screenshot()).resize((1280, 920), Image.Resampling.LANCZOS)
        picture.quantize(256, kmeans=1, dither=Image.Dither.NONE).save(PNG, optimize=True)
    clicked(browser, *ANSWER, *MAP)
    browser.wait(lambda: max(tinted(browser)) < 100, "an empty scene")
    clicked(browser, "Map: observed")
    browser.wait(lambda: tinted(browser)[0] > 1000, "the observed layer")
    assert tinted(browser)[1] < 100
    clicked(browser, "Map: observed", "Map: generated")
    browser.wait(lambda: (now := tinted(browser))[1] > 300 and now[0] < 100, "the generated layer alone")
    clicked(browser, "Map: generated")
    browser.wait(lambda: max(tinted(browser)) < 100, "an empty scene")
    sent = published(browser)
    browser.wait(lambda: published(browser) > sent + 2, "new messages of what is hidden")
    assert max(tinted(browser)) < 100
    empty = dark(browser)
    clicked(browser, "Map: grid")
    browser.wait(lambda: dark(browser) > empty + 300, "obstacles of the grid")
    clicked(browser, *ANSWER, "Map: observed", "Map: generated")


def test_health_says_what_the_node_says(browser, client):
    client.wait_for_diagnostics(PATIENCE)
    browser.wait(lambda: f"answered\t{browser.asked}" in browser.text("#answers"), "the answers")
    assert browser.text("#verdict") == "/gld_node: OK"
    facts = dict(line.split("\t") for line in browser.text("#facts").splitlines())
    assert (facts["state"], facts["model"]) == ("active", "mini")
    assert float(facts["latency median s"]) > 0
    received = client.counts[TOPICS.image]["received"]
    row = rf"{TOPICS.image}\t(\d+)\t"

    def counted():
        found = re.search(row, browser.text("#topics"))
        return found and int(found[1]) >= received

    browser.wait(counted, "count of images")


def test_errors_and_an_inactive_node_are_red(browser, client):
    views = client.node.create_client(SynthesizeViews, "/gld_node/synthesize")
    client.wait(views.service_is_ready, PATIENCE, "the service")
    request = views.call_async(SynthesizeViews.Request())
    client.wait(request.done, PATIENCE, "answer to a bad request")
    browser.wait(lambda: "INVALID REQUEST\t1" in browser.text("#answers"), "the error by its code")
    client.transition("deactivate", PATIENCE)
    browser.wait(lambda: "inactive: it answers no request" in browser.text("#verdict"), "the state")
    assert browser.text("#verdict").startswith("/gld_node: ERROR")
    browser.wait(lambda: "NOTHING NEW FOR" in browser.text("body"), "the age of the camera's picture")
    colour = browser.evaluate("getComputedStyle(document.querySelector('#verdict')).backgroundColor")
    assert colour == "rgb(207, 34, 46)"


def test_a_silent_node_is_red_and_nobody_looking_costs_nothing(browser, client, processes):
    client.transition("activate", PATIENCE)
    browser.wait(lambda: browser.text("#verdict") == "/gld_node: OK", "the node's recovery")
    os.kill(processes.pid("gld_node"), signal.SIGSTOP)
    try:
        browser.wait(lambda: "silent for" in browser.text("#verdict"), "the silence")
    finally:
        os.kill(processes.pid("gld_node"), signal.SIGCONT)
    browser.wait(lambda: browser.text("#verdict") == "/gld_node: OK", "the node's recovery")
    browser.close()
    count = client.node.count_subscribers
    client.wait(lambda: count("/gld_node/views") == 0 and count(TOPICS.image) == 1, PATIENCE, "nothing but gld_node")


# ---- without a browser


def dashboard(*arguments, **environment):
    command = [sys.executable, "-m", "gld_ros.cli", "dashboard", *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | environment
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly(number):
    port = free_port()
    process = dashboard("--port", port)
    end = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            break
        except OSError:
            assert process.poll() is None and time.monotonic() < end
            time.sleep(0.1)
    time.sleep(0.5)
    process.send_signal(number)
    output = process.communicate(timeout=30)[0]
    assert process.returncode == 0 and "Traceback" not in output, output
    assert f"dashboard of '/gld_node': http://127.0.0.1:{port}" in output


@pytest.mark.parametrize(
    "arguments, reason",
    [
        (("--port", "TAKEN"), "cannot listen at 127.0.0.1:TAKEN"),
        (("--port", "99999"), "port out of range"),
        (("--node", "a b"), "parameter node is 'a b', expected a name like /robot/gld_node"),
        ((), "pip install 'viser>=1.1,<1.2'"),
    ],
)
def test_why_it_cannot_start_is_named(tmp_path, arguments, reason):
    environment = {}
    if not arguments:
        (tmp_path / "viser.py").write_text("raise ImportError('not here')")
        environment["PYTHONPATH"] = f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = str(server.getsockname()[1])
        process = dashboard(*(word.replace("TAKEN", taken) for word in arguments), **environment)
        output = process.communicate(timeout=PATIENCE)[0]
    assert process.returncode == 1 and "Traceback" not in output
    assert reason.replace("TAKEN", taken) in output
