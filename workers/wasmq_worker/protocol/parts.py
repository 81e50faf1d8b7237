"""What frames of either direction are made of."""

from __future__ import annotations

from typing import TypeAlias

import msgspec


class Frame(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    """An array whose first element names the frame."""


class Item(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An array inside of a frame."""


class Reference(Item, frozen=True):
    """A reference that a guest returned and that is not null; all that is left of it is its `kind`: "funcref"."""

    kind: str


Value: TypeAlias = int | float | bytes | Reference | None
"""A core value; None is a null reference."""


class Sandbox(Item, frozen=True):
    """How a process is shut in. `artifacts` is the directory of the artifacts, all that it may read; "" is none.

    `uid` and `gid` are whom it becomes where the scheduler is root, `parent` is the scheduler's process id. `without`
    names walls that are left out.
    """

    artifacts: str = ""
    uid: int | None = None
    gid: int | None = None
    parent: int = 0
    without: tuple[str, ...] = ()


class Wall(Item, frozen=True):
    """One wall around a process: "up", "down", or "moot" where it has nothing to hold back, and why."""

    name: str
    state: str
    detail: str = ""
