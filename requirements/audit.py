"""The locked packages, looked up among known vulnerabilities by pip-audit: run by its own interpreter, `make audit`.

Exit status 0: none is known. 1: there is one, and each is a line. 69: nobody answered, or not for every package.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from requirements.lock import Locked, runtime, unconditional

FOUND: Final = 1
NO_ANSWER: Final = 69
_WITHIN: Final = 600.0  # seconds for all
_OPTIONS: Final = ("--disable-pip", "--require-hashes", "--progress-spinner=off", "--timeout=15", "-s=osv", "-f=json")


def judge(locked: list[Locked], answer: str, problem: str) -> tuple[list[str], int]:
    """Return what to say and the exit status, by what pip-audit wrote to stdout and stderr."""
    try:
        looked_up = {each["name"]: each for each in json.loads(answer)["dependencies"]}
    except (ValueError, KeyError, TypeError):
        why = " ".join((problem.strip().splitlines() or ["it said nothing"])[-1].split())
        return [f"audit: the service of advisories cannot be reached: {why[:300]}"], NO_ANSWER
    lines = [
        f"audit: {name} {each['version']}: {flaw['id']}, cured by {' or '.join(flaw['fix_versions']) or 'nothing yet'}"
        for name, each in sorted(looked_up.items())
        for flaw in each.get("vulns", ())
    ]
    unknown = [each.name for each in locked if "vulns" not in looked_up.get(each.name, ())]
    if unknown:
        lines.append(f"audit: no answer for {', '.join(unknown)}")
    if not lines:
        return [f"audit: no known vulnerability in {len(locked)} packages"], 0
    return lines, NO_ANSWER if len(lines) == 1 and unknown else FOUND


def main() -> int:
    """Look all packages up, and say what came of it."""
    locked = runtime()
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "runtime.txt"
        file.write_text(unconditional(locked), encoding="utf-8")
        command = [sys.executable, "-m", "pip_audit", "-r", str(file), *_OPTIONS]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_WITHIN, check=False)
            lines, status = judge(locked, done.stdout, done.stderr)
        except subprocess.TimeoutExpired:
            lines, status = judge(locked, "", f"no answer within {_WITHIN:g} seconds")
    print(*lines, sep="\n", file=sys.stderr if status else sys.stdout)
    return status


if __name__ == "__main__":
    sys.exit(main())
