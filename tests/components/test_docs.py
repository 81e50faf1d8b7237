"""The way from a Python function to a job, as docs/guests.md shows it, works line by line."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def blocks(section: str) -> dict[str, str]:
    """Return the fenced blocks of a section of docs/guests.md by their language; there is one of each."""
    text = (ROOT / "docs" / "guests.md").read_text().partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return dict(re.findall(r"```(\w+)\n(.*?)```", text, re.DOTALL))


@pytest.mark.slow
def test_from_a_python_function_to_a_job(tmp_path: Path) -> None:
    """The two files and the lines of the document give the answer that it says; compiling takes most of a minute."""
    found = blocks("From a Python function to a job")
    (tmp_path / "rules.wit").write_text(found["wit"])
    (tmp_path / "rules.py").write_text(found["python"])
    tools = Path(sys.executable).parent
    environment = os.environ | {
        "PATH": f"{tools}:{os.environ['PATH']}",
        "PYTHONPATH": f"{ROOT}:{ROOT / 'workers'}",
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "WASMQ_MODULES__COMPILE_TIMEOUT": "600",
    }
    lines = found["console"].splitlines()
    install, build, run, answer = lines
    version = install.removeprefix("$ pip install componentize-py==")
    listed = (ROOT / "requirements" / "dev.txt").read_text()
    assert f"\ncomponentize-py=={version} " in listed
    for line in (build, run):
        words = shlex.split(line.removeprefix("$ "))
        if words[0] == "wasmq":
            words[:1] = [sys.executable, "-m", "wasmq"]
        done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert done.stdout == f"{answer}\n"


def test_the_documented_builder_is_the_one_that_is_tested() -> None:
    """The version that the document installs is the one that builds the guests of the tests."""
    found = blocks("From a Python function to a job")
    pinned = re.search(r'"componentize-py==([0-9.]+)"', (ROOT / "pyproject.toml").read_text())
    assert pinned is not None
    assert f"componentize-py=={pinned[1]}\n" in found["console"]
    assert f"componentize-py=={pinned[1]}" in (ROOT / "workers" / "guests" / "components" / "README.md").read_text()
