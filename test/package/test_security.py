# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Nothing in the package unpickles, evaluates text or starts a shell; the audit says what it could not ask."""

import ast
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    [*ROOT.glob("gld_ros/**/*.py"), *ROOT.glob("tools/*.py"), *ROOT.glob("launch/*.py"), *ROOT.glob("scripts/*")]
)
# `pickle` may be imported for the name of its error only: files.py and pixelsplat.py catch what torch.load raises.
MODULES = {"marshal", "shelve", "dill", "cloudpickle", "joblib", "jsonpickle", "pickletools", "xmlrpc", "telnetlib"}
BUILTINS = {"eval", "exec", "compile"}
CALLS = {
    "os.system",
    "os.popen",
    "subprocess.getoutput",
    "subprocess.getstatusoutput",
    "tempfile.mktemp",
    "torch.hub.load",
}
YAML = {"yaml.load", "yaml.full_load", "yaml.unsafe_load", "yaml.load_all"}


def dotted(node):
    """`a.b.c` of an expression, or an empty string."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}" if dotted(node.value) else ""
    return ""


def is_constant(call, keyword, value):
    return any(k.arg == keyword and isinstance(k.value, ast.Constant) and k.value.value is value for k in call.keywords)


def violations(source):
    """What the source must not do, by line."""
    tree = ast.parse(source)
    imported = {
        name.name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in ([*node.names, ast.alias(node.module or "")] if isinstance(node, ast.ImportFrom) else node.names)
    }
    found = [f"import of {name}" for name in sorted(imported & MODULES)]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "pickle":
            found.append(f"{node.lineno}: from pickle import")
        if isinstance(node, ast.Attribute) and dotted(node).startswith("pickle.") and node.attr != "UnpicklingError":
            found.append(f"{node.lineno}: {dotted(node)}")
        if not isinstance(node, ast.Call):
            continue
        name = dotted(node.func)
        unsafe = {
            "builtin": name in BUILTINS,
            "call": name in CALLS or name.startswith("pickle."),
            "shell": any(k.arg == "shell" and not is_constant(node, "shell", False) for k in node.keywords),
            "torch.load without weights_only": name == "torch.load" and not is_constant(node, "weights_only", True),
            "pickled arrays": any(
                k.arg == "allow_pickle" and not is_constant(node, k.arg, False) for k in node.keywords
            ),
            "PyYAML's load": name in YAML and "yaml" in imported,
            "ruamel's unsafe loader": name in ("YAML", "ruamel.yaml.YAML")
            and not any(k.arg == "typ" and getattr(k.value, "value", "") == "safe" for k in node.keywords),
            "archive unpacked": name.endswith(".extractall"),
        }
        found += [f"{node.lineno}: {what}: {name}" for what, is_so in unsafe.items() if is_so]
    return found


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_code_is_read_or_run_from_data(file):
    assert violations(file.read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "import marshal",
        "from pickle import loads",
        "import pickle; pickle.load(f)",
        "import pickle; load = pickle.loads",
        "eval('1')",
        "exec(text)",
        "import os; os.system('ls')",
        "import subprocess; subprocess.run('ls', shell=True)",
        "import subprocess; subprocess.run('ls', shell=flag)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "import yaml; yaml.load(text)",
        "from ruamel.yaml import YAML; YAML().load(text)",
        "archive.extractall(path)",
    ],
)
def test_what_must_not_be_is_found(source):
    assert violations(source)


@pytest.mark.parametrize("source", ["model.eval()", "re.compile('a')", "torch.load(p, weights_only=True)"])
def test_what_may_be_is_not(source):
    assert not violations(source)


def test_an_audit_without_network_says_so_and_does_not_fail():
    pytest.importorskip("pip_audit")
    environment = {**os.environ, **dict.fromkeys(("HTTPS_PROXY", "https_proxy"), "http://127.0.0.1:9")}
    command = [sys.executable, str(ROOT / "tools" / "audit.py")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0 and "NOT AUDITED" in done.stderr


def test_an_audit_names_what_it_found():
    spec = importlib.util.spec_from_file_location("audit", ROOT / "tools" / "audit.py")
    audit = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(audit)
    vulnerable = {"name": "a", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": ["2"]}]}
    skipped = {"name": "b", "skip_reason": "editable"}
    report = json.dumps({"dependencies": [vulnerable, skipped, {"name": "c", "version": "1", "vulns": []}]})
    assert audit.findings(report) == ["a 1: CVE-1, fixed in 2"]
