"""The engine's version against the advisories that are known."""

from __future__ import annotations

import tomllib
from datetime import date
from importlib.resources import files
from typing import Literal, TypeAlias

import msgspec

from wasmq.doctor.finding import Finding, failed, ok, warning

STALE = 120
"""Days after which a list without newer entries says little: advisories have come every few weeks."""

Version: TypeAlias = tuple[int, int, int]


class Advisory(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One advisory. `fixed` has the first good version of each release line; every later line is good."""

    id: str
    title: str
    date: date
    fixed: tuple[str, ...]
    part: Literal["engine", "winch", "wasi", "http", "windows", "host"]
    introduced: str = "0.0.0"

    def affects(self, version: Version) -> bool:
        """Return whether a version has it."""
        return parse(self.introduced) <= version < self.cure(version)

    def cure(self, version: Version) -> Version:
        """Return the first good version of the same release line, or of the newest that has one."""
        fixes = [parse(text) for text in self.fixed]
        return next((fix for fix in fixes if fix[0] == version[0]), max(fixes))


class Advisories(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The list, and when it was last compared with its source."""

    dated: date
    advisory: tuple[Advisory, ...]


def known() -> Advisories:
    """Return the list that this version of wasmq comes with."""
    text = files("wasmq.doctor").joinpath("advisories.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text), Advisories)


def parse(text: str) -> Version:
    """Return a version's three numbers. Raises `ValueError` for anything else."""
    major, minor, patch = text.split(".")
    return int(major), int(minor), int(patch)


def judge(installed: str, listed: Advisories, today: date) -> list[Finding]:
    """Return what is to be said of an engine's version: of the advisories that guests can use, and of the others."""
    try:
        version = parse(installed)
    except ValueError:
        return [failed("engine", f"wasmtime {installed}: no version that can be compared", "pip install wasmq")]
    affecting = [each for each in listed.advisory if each.affects(version)]
    reachable = [each for each in affecting if each.part == "engine"]
    findings = [
        failed("engine", f"wasmtime {installed}: {each.id}: {each.title}", _upgrade(each, version))
        for each in reachable
    ]
    rest = [each.id for each in affecting if each.part != "engine"]
    note = f"; {', '.join(rest)} touch what wasmq does not use" if rest else ""
    if not findings:
        findings.append(ok("engine", f"wasmtime {installed} has no known hole that a guest could use{note}"))
    if (age := (today - listed.dated).days) > STALE:
        findings.append(
            warning("advisories", f"the list of advisories is {age} days old ({listed.dated})", "upgrade wasmq")
        )
    return findings


def _upgrade(advisory: Advisory, version: Version) -> str:
    return f"install wasmtime {'.'.join(map(str, advisory.cure(version)))} or later"
