"""The lock files, read: what is installed where wasmq runs, in which version and with which hashes."""

from __future__ import annotations

import re
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_PINNED = re.compile(r"(?P<name>[a-z0-9-]+)==(?P<version>\S+)(?: ; (?P<marker>.*?))?(?: \\)?")
_HASH = re.compile(r"--hash=sha256:(?P<hash>[0-9a-f]{64})")
_PARENT = re.compile(r"#(?: via)? +(?P<name>[a-z0-9-]+)(?: \(.*\))?")


@dataclass
class Locked:
    """One package: the SHA-256 of each of its files in hex, and the packages that want it."""

    name: str
    version: str
    marker: str | None
    hashes: list[str] = field(default_factory=list)
    parents: list[str] = field(default_factory=list)


def read(path: Path) -> dict[str, Locked]:
    """Return what a lock file holds, by name. Raises `ValueError` for a line that it does not know."""
    found: dict[str, Locked] = {}
    locked: Locked | None = None
    for line in path.read_text(encoding="utf-8").splitlines():
        if pinned := _PINNED.fullmatch(line):
            locked = found[pinned["name"]] = Locked(pinned["name"], pinned["version"], pinned["marker"])
        elif hashed := _HASH.match(line.strip()):
            assert locked is not None
            locked.hashes.append(hashed["hash"])
        elif not line.lstrip().startswith("#"):
            raise ValueError(f"{path}: not a line of a lock: {line!r}")
        elif locked is not None and (parent := _PARENT.fullmatch(line.strip())) and parent["name"] != "via":
            locked.parents.append(parent["name"])
    return found


def runtime() -> list[Locked]:
    """Return every package that wasmq or one of its extras needs, by name.

    They are those of run.txt, and what the extras that are not in it bring: as dev.txt has it.
    """
    found, everything = read(HERE / "run.txt"), read(HERE / "dev.txt")
    waiting = [name for name in wanted() if name not in found]
    while waiting:
        name = waiting.pop()
        if name not in everything:
            raise SystemExit(f"requirements/dev.txt has no {name}: make lock")
        found[name] = everything[name]
        waiting += [each.name for each in everything.values() if name in each.parents and each.name not in found]
    return sorted(found.values(), key=lambda locked: locked.name)


def project() -> dict[str, Any]:
    """Return the table `[project]` of pyproject.toml."""
    tree = tomllib.loads((HERE.parent / "pyproject.toml").read_text(encoding="utf-8"))
    table: dict[str, Any] = tree["project"]
    return table


def wanted() -> list[str]:
    """Return the names of what wasmq itself asks for, with all its extras."""
    table = project()
    texts = [*table["dependencies"], *[text for extra in table["optional-dependencies"].values() for text in extra]]
    names = [_NAME.match(text) for text in texts]
    return sorted({re.sub(r"[._-]+", "-", name[0]).lower() for name in names if name is not None})


def unconditional(locked: list[Locked]) -> str:
    """Return packages as a lock without conditions: each of them is to be had on any machine."""
    return "".join(
        [
            " ".join([f"{each.name}=={each.version}", *[f"--hash=sha256:{one}" for one in each.hashes]]) + "\n"
            for each in locked
        ]
    )


if __name__ == "__main__":
    sys.stdout.write(unconditional(runtime()))
