"""How names that somebody else has chosen are shown. Pure."""

from __future__ import annotations

__all__ = ["printable"]

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def printable(name: str, limit: int = 200) -> str:
    """Return a name as one harmless piece of a line, at most `limit` characters long.

    What does not print (control characters, line ends, marks that reorder text) becomes U+FFFD; what is too long is
    cut and ends in "…".
    """
    shown = name if len(name) <= limit else name[: limit - 1] + "…"
    if shown.isprintable():
        return shown
    return "".join([character if character.isprintable() else _REPLACEMENT for character in shown])
