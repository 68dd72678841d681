# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Ask OSV (osv.dev) through pip-audit for known vulnerabilities of what is installed in the venv.

Exit code 1 where there are some. Where OSV cannot be reached nothing is known: that is said loudly, and is no failure.
"""

import json
import re
import subprocess
import sys

COMMAND = [
    *(sys.executable, "-m", "pip_audit", "--vulnerability-service", "osv", "--format", "json", "--timeout", "15"),
    *("--progress-spinner", "off", "--local", "--skip-editable"),
]
UNREACHABLE = re.compile(r"ConnectionError|ProxyError|Timeout|NameResolutionError|Could not connect|Max retries")


def findings(report: str) -> list[str]:
    """A line for every vulnerability in pip-audit's JSON report."""
    return [
        f"{package['name']} {package['version']}: {found['id']}, fixed in {', '.join(found['fix_versions']) or 'none'}"
        for package in json.loads(report)["dependencies"]
        for found in package.get("vulns", [])
    ]


def main() -> int:
    """Run pip-audit; returns the exit code."""
    done = subprocess.run(COMMAND, capture_output=True, text=True)
    if not done.stdout.strip():
        if not UNREACHABLE.search(done.stderr):
            print(f"audit: pip-audit failed:\n{done.stderr}", file=sys.stderr)
            return 1
        reason = done.stderr.strip().splitlines()[-1][:200]
        print(f"{'!' * 80}\naudit: NOT AUDITED, osv.dev cannot be reached: {reason}\n{'!' * 80}", file=sys.stderr)
        return 0
    found = findings(done.stdout)
    for line in found:
        print(f"audit: {line}", file=sys.stderr)
    print(f"audit: {len(found)} known vulnerabilities in {len(json.loads(done.stdout)['dependencies'])} packages")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
