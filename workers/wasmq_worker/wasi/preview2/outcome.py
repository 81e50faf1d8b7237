"""Python values for the kinds of WIT types that Python has none of its own for: results and variants."""

from __future__ import annotations

from typing import Any, NamedTuple


class Ok(NamedTuple):
    """A result that went well; `value` is None when its type has none."""

    value: Any = None


class Err(NamedTuple):
    """A result that did not go well; `value` is None when its type has none."""

    value: Any = None


class Case(NamedTuple):
    """One case of a variant; `value` is None when the case has none."""

    name: str
    value: Any = None
