"""Ask the advisory service about every locked package; say so in words where it cannot be asked.

``make audit`` runs it with the environment's pip-audit. Exit code 1: a locked version has a known
vulnerability. A service that does not answer is no failure of this project's.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

_LOCK = Path(__file__).parents[1] / "requirements.lock"
_SECONDS = 180


def main() -> int:
    """Print what was asked and found; return the exit code."""
    reports = ask(_LOCK)
    asked = [report for report in reports if "skip_reason" not in report]
    found = [report for report in asked if report["vulns"]]
    if not asked:
        print("audit: skipped, since the advisory service cannot be reached from here")
        return 0
    for report in found:
        for vulnerability in report["vulns"]:
            fixed = ", ".join(vulnerability["fix_versions"]) or "none yet"
            print(f"{report['name']} {report['version']}: {vulnerability['id']}, fixed in {fixed}")
    print(f"audit: {len(asked)} of {len(reports)} packages asked, {len(found)} vulnerable")
    return 1 if found else 0


def ask(lock: Path) -> list[dict[str, Any]]:
    """Return pip-audit's report on each package of a lock file; none where it fails."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(lock), "--disable-pip"]
    command += ["--require-hashes", "--format", "json", "--progress-spinner", "off"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_SECONDS, check=False)
        reports: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, ValueError, KeyError):
        return []
    return reports


if __name__ == "__main__":
    sys.exit(main())
