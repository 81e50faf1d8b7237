"""The result of one check."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

Health: TypeAlias = Literal["ok", "warning", "failed"]
"""Fine; may go wrong, or is less than could be had; will go wrong, or is not safe."""


class Finding(msgspec.Struct, frozen=True):
    """How one thing stands. `advice` is what to do about it, empty when that is nothing."""

    check: str
    health: Health
    detail: str
    advice: str = ""


def ok(check: str, detail: str) -> Finding:
    """Return the finding that all is well."""
    return Finding(check, "ok", detail)


def warning(check: str, detail: str, advice: str) -> Finding:
    """Return a finding that is worth knowing."""
    return Finding(check, "warning", detail, advice)


def failed(check: str, detail: str, advice: str) -> Finding:
    """Return a finding that is to be put right."""
    return Finding(check, "failed", detail, advice)
