"""Looking the locked packages up among known vulnerabilities: what is said, and the exit status."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from requirements.lock import runtime

ROOT = Path(__file__).parents[2]
CLEAN = [{"name": each.name, "version": each.version, "vulns": []} for each in runtime()]
FLAW = {"id": "PYSEC-2026-1", "fix_versions": ["2.0", "1.9.1"], "aliases": [], "description": "a hole"}
UNCURED = {**FLAW, "id": "PYSEC-2026-2", "fix_versions": []}
ANYIO = next(each for each in CLEAN if each["name"] == "anyio")
OTHERS = [each for each in CLEAN if each is not ANYIO]
FLAWED = {**ANYIO, "vulns": [FLAW, UNCURED]}
SKIPPED = {"name": "anyio", "skip_reason": "not to be found"}


@pytest.fixture
def audit(tmp_path):
    """Return a function that runs the command with something that stands for pip-audit; returns its end."""

    def audit(said, problem="", status=0):
        (tmp_path / "pip_audit.py").write_text(
            f"import sys\nprint({said!r})\nprint({problem!r}, file=sys.stderr)\nsys.exit({status})\n"
        )
        return subprocess.run(
            [sys.executable, "-m", "requirements.audit"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": str(tmp_path)},
        )

    return audit


def test_nothing_known(audit):
    """One line on stdout, and 0."""
    done = audit(json.dumps({"dependencies": CLEAN}))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"audit: no known vulnerability in {len(CLEAN)} packages\n"


def test_something_known(audit):
    """A line for each, with the versions that cure it, and 1: also when others were not looked up."""
    version = ANYIO["version"]
    for others in (OTHERS, OTHERS[1:]):
        done = audit(json.dumps({"dependencies": [*others, FLAWED]}), status=1)
        assert done.returncode == 1
        assert done.stderr.splitlines()[:2] == [
            f"audit: anyio {version}: PYSEC-2026-1, cured by 2.0 or 1.9.1",
            f"audit: anyio {version}: PYSEC-2026-2, cured by nothing yet",
        ]


@pytest.mark.parametrize("missing", [[], [SKIPPED]])
def test_a_package_without_an_answer(audit, missing):
    """It is named, and the status is not that of a good end."""
    done = audit(json.dumps({"dependencies": [*OTHERS, *missing]}))
    assert (done.returncode, done.stdout, done.stderr) == (69, "", "audit: no answer for anyio\n")


@pytest.mark.parametrize("said", ["", "{}", "[]", "no JSON"])
def test_nobody_answers(audit, said):
    """Whatever the tool writes then, it is one line that says so, with its last words, and 69."""
    problem = "Traceback (most recent call last):\n  File\nConnectionError: no route\n  to the service"
    done = audit(said, problem, status=1)
    assert (done.returncode, done.stdout) == (69, "")
    assert done.stderr == "audit: the service of advisories cannot be reached: to the service\n"
