"""Targets under atheris, which steers its inputs by what they reach in wasmq; each in a process of its own.

atheris has wheels for CPython 3.11 on x86-64 Linux only. Without it the corpora can be replayed, and no more.
"""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

HERE: Final = Path(__file__).parent
CORPORA: Final = HERE / "corpora"
TARGETS: Final = ("arguments", "configuration", "frames", "modules", "requests")
MISSING: Final = "atheris is not installed: it has wheels for CPython 3.11 on x86-64 Linux only"
_MAX_SIZE: Final = 2_048  # bytes of one input
_TIMEOUT: Final = 20  # seconds that one input may take, on a machine that does other things too
_MEMORY: Final = 2_048  # MiB of the process
_KEPT: Final = 200  # inputs of one target that are kept in the repository


def is_there() -> bool:
    """Return whether atheris is installed."""
    return find_spec("atheris") is not None


def corpus(target: str) -> list[Path]:
    """Return the files of a target's corpus in the repository."""
    return sorted((CORPORA / target).iterdir())


def run(target: str, work: Path, *flags: str) -> int:
    """Run a target with flags of libFuzzer, and return its exit status: 0 when it ended by itself and nothing broke.

    It begins with the repository's corpus. What it finds is put under `work`: inputs that reach something new in
    `corpus`, and one that breaks something beside that, as `crash-…`, `timeout-…` or `oom-…`.
    """
    found = work / "corpus"
    found.mkdir(parents=True, exist_ok=True)
    limits = (f"-max_len={_MAX_SIZE}", "-len_control=2", f"-timeout={_TIMEOUT}", f"-rss_limit_mb={_MEMORY}")
    return _apart("cover", target, str(found), str(CORPORA / target), f"-artifact_prefix={work}/", *limits, *flags)


def replay(target: str, paths: Iterable[Path]) -> int:
    """Give a target some inputs, and return the exit status: 0 when nothing broke."""
    return _apart("replay", target, *map(str, paths))


def keep(target: str, work: Path) -> None:
    """Add to the repository's corpus what was found under `work`: each of these reached something that was new.

    Where that is too much, some of each size.
    """
    known = {path.read_bytes() for path in corpus(target)}
    found = sorted((work / "corpus").iterdir(), key=lambda path: (path.stat().st_size, path.name))
    new = [path for path in found if path.read_bytes() not in known]
    room = max(1, _KEPT - len(known))
    for path in new[:: -(-len(new) // room) or 1]:
        shutil.copy(path, CORPORA / target / path.name[:12])


def child(how: str, target: str, words: list[str]) -> None:
    """Be the process in which a target runs; never returns."""
    if how == "cover":
        import atheris

        with atheris.instrument_imports(include=["wasmq", "wasmq_worker"]):
            fuzz = importlib.import_module(f"fuzz.{target}").fuzz
        atheris.Setup([target, *words], fuzz)
        atheris.Fuzz()
    fuzz = importlib.import_module(f"fuzz.{target}").fuzz
    for word in words:
        try:
            fuzz(Path(word).read_bytes())
        except BaseException:
            print(f"fuzz: {target} broke at {word}", file=sys.stderr)
            raise
    # What a target has running, such as a daemon, ends with the process.
    os._exit(0)


def _apart(how: str, target: str, *words: str) -> int:
    with _scratch() as scratch:
        command = [sys.executable, str(HERE), "--child", how, target, *words]
        return subprocess.run(command, env={**os.environ, "TMPDIR": scratch}, check=False).returncode


@contextmanager
def _scratch() -> Iterator[str]:
    """Give a directory for all that is temporary, and take it away whatever was left there."""
    directory = tempfile.mkdtemp(prefix="wasmq-fuzz-")
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
