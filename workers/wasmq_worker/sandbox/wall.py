"""What a wall is: a name, whether it stands, and why it does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wasmq_worker.protocol import Wall

if TYPE_CHECKING:
    from collections.abc import Callable


class Moot(Exception):
    """Raised by a wall that has nothing to hold back here; the message says why."""


def put_up(name: str, build: Callable[[], str], without: tuple[str, ...] = ()) -> Wall:
    """Build one wall and return how it stands. `build` returns what is to be said of it, often nothing."""
    if name in without:
        return Wall(name, "down", "left out by configuration (sandbox.without)")
    try:
        return Wall(name, "up", build())
    except Moot as moot:
        return Wall(name, "moot", str(moot))
    except OSError as error:
        return Wall(name, "down", error.strerror or str(error))
