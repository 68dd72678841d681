# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Work that a start does not do: imports that nothing of it needs, and a first warm-up of full size."""

import subprocess
import sys

import pytest

from gld_ros.pipeline.pipeline import GLDPipeline

CODE = """
import sys
from gld_ros.pipeline.pipeline import GLDPipeline
GLDPipeline.from_pretrained("mini", "cpu", local_files_only=True)
sys.exit(" ".join({"torch._dynamo", "sympy", "httpx", "huggingface_hub.hf_api"} & sys.modules.keys()) or 0)
"""


def test_loading_imports_neither_torchs_compiler_nor_the_hubs_client():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("compiled", [False, True])
def test_on_a_cpu_the_first_made_up_request_is_small(compiled, monkeypatch):
    """Unless networks are compiled: they are for each shape."""
    pipe = GLDPipeline.from_pretrained("mini", "cpu", local_files_only=True)
    asked, loading = [], pipe.generator.loading
    monkeypatch.setattr(pipe.generator, "loading", type(loading)(**vars(loading) | {"compile": compiled}))
    generate = pipe.generator.generate

    def counted(request, report):
        asked.append((request.targets[0].height * request.targets[0].width, request.preset.steps))
        return generate(request, report)

    monkeypatch.setattr(pipe.generator, "generate", counted)
    pipe.warm_up(size=(120, 160))
    (first, fewest), (full, steps) = asked
    assert full == 120 * 160 and steps == 4
    assert (first, fewest) == ((full, steps) if compiled else (64 * 64, 2))
    assert all(rates for rates in pipe.speed._rates.values()) and "level1" in pipe.speed._rates  # the times are known
