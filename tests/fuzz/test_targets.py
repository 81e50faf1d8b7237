"""Every target holds on its corpus, and for a moment under coverage; `make fuzz` runs them for long."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from fuzz import coverage

if TYPE_CHECKING:
    from pathlib import Path

RUNS = {"arguments": 12_000, "configuration": 900, "frames": 900, "modules": 1_200, "requests": 900}
"""Inputs besides the corpus: six to eight seconds of them on one slow core."""


def test_every_target_has_a_corpus_and_its_runs():
    """A target cannot be forgotten here, and no corpus belongs to none."""
    files = {path.stem for path in coverage.HERE.glob("*.py")}
    assert set(coverage.TARGETS) == RUNS.keys() == {path.name for path in coverage.CORPORA.iterdir()}
    assert files.issuperset(coverage.TARGETS)
    assert all(coverage.corpus(target) for target in coverage.TARGETS)


def test_the_corpora_stay_small():
    """They are a place to begin and what was found once, not all that can be reached."""
    sizes = [path.stat().st_size for target in coverage.TARGETS for path in coverage.corpus(target)]
    assert sum(sizes) < 2**19
    assert max(sizes) <= 4_096


@pytest.mark.parametrize("target", coverage.TARGETS)
def test_a_corpus_breaks_nothing(target: str, capfd):
    """Regressions are kept in it: what broke a target once does so no more."""
    status = coverage.replay(target, coverage.corpus(target))
    assert status == 0, capfd.readouterr().err[-4_000:]


@pytest.mark.skipif(not coverage.is_there(), reason=coverage.MISSING)
@pytest.mark.parametrize("target", coverage.TARGETS)
def test_a_target_holds_for_a_moment(target: str, tmp_path: Path, capfd):
    """It ends by itself after so many inputs, of which some reach what nothing reached before; nothing breaks."""
    # The same each time: what differs from run to run is for the long run.
    runs = len(coverage.corpus(target)) + RUNS[target]
    status = coverage.run(target, tmp_path, f"-runs={runs}", "-seed=1", "-print_final_stats=1")
    said = "".join(capfd.readouterr())
    assert status == 0, said[-4_000:]
    assert f"Done {runs} runs" in said, said[-4_000:]
    assert not [path.name for path in tmp_path.iterdir() if path.name != "corpus"]


@pytest.mark.skipif(not coverage.is_there(), reason=coverage.MISSING)
def test_what_breaks_is_found_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd):
    """A target that does not hold ends with another status, and leaves the input that shows it."""
    package = tmp_path / "fuzz"
    shutil.copytree(coverage.HERE, package, ignore=shutil.ignore_patterns("corpora", "__pycache__"))
    seeds = package / "corpora" / "arguments"
    seeds.mkdir(parents=True)
    (seeds / "seed").write_bytes(b"1.2")
    (package / "arguments.py").write_text(
        "from wasmq.events import Position\n\n\n"
        "def fuzz(data):\n    assert Position.parse(data.decode('latin-1')) is None\n"
    )
    monkeypatch.setattr(coverage, "HERE", package)
    monkeypatch.setattr(coverage, "CORPORA", package / "corpora")
    work = tmp_path / "work"
    assert coverage.run("arguments", work, "-runs=200000", "-seed=1") != 0
    assert "AssertionError" in capfd.readouterr().out
    (left,) = work.glob("crash-*")
    assert coverage.replay("arguments", [left]) != 0
