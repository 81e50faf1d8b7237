"""What frames of either direction are made of."""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias

import msgspec

MAX_LISTED: Final = 2**16
"""Entries of a list in a frame that comes up: more than a worker has jobs, and a job files. Each may be three bytes in
the frame and hundreds once it is decoded."""
MAX_VALUES: Final = 1_000
"""Arguments or results of one call, which is what engines agree on."""
FEW: Final = msgspec.Meta(max_length=1_000)
Size: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class Frame(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    """An array whose first element names the frame."""


class Item(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An array inside of a frame."""


class Reference(Item, frozen=True):
    """A reference that a guest returned and that is not null; all that is left of it is its `kind`: "funcref"."""

    kind: Annotated[str, msgspec.Meta(pattern=r"\A[a-z]{1,20}\Z")]


Value: TypeAlias = int | float | bytes | Reference | None
"""A core value; None is a null reference."""
Values: TypeAlias = Annotated[tuple[Value, ...], msgspec.Meta(max_length=MAX_VALUES)]


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
