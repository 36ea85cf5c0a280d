"""`python -m tests.audit`: ask for known vulnerabilities in the pinned dependencies; 1 when there are any.

Needs pip-audit (`pip install pip-audit`) and a network; where one is missing it says that nothing was audited.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

_PINS = Path(__file__).parents[1] / "constraints.txt"
_TIMEOUT_S = 300


def main() -> int:
    """Audit, print what was found, and return the exit code."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(_PINS), "--no-deps", "--disable-pip"]
    try:
        done = subprocess.run(
            [*command, "--format", "json", "--progress-spinner", "off"],
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT_S,
        )
        dependencies: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, ValueError, KeyError):
        print("NOT AUDITED: pip-audit is missing, or the service that knows vulnerabilities does not answer")
        return 0
    known = [one for one in dependencies if "vulns" in one]
    if not known:
        print(f"NOT AUDITED: the service knows none of the {len(dependencies)} dependencies")
        return 0
    found = [(one["name"], one["version"], [each["id"] for each in one["vulns"]]) for one in known if one["vulns"]]
    for name, version, ids in found:
        print(f"{name} {version}: {', '.join(ids)}")
    print(f"{len(known)} of {len(dependencies)} dependencies audited, {len(found)} with known vulnerabilities")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
