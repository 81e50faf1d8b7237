"""JSON that opens a hundred thousand brackets, or as many objects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clients import post

if TYPE_CHECKING:
    from daemons import Daemon


async def attack(daemon: Daemon) -> None:
    """It is malformed, wherever it stands."""
    deep = 100_000
    for bomb in (b"[" * deep, b"[" * deep + b"]" * deep, b'{"args":' * deep, b'{"args":[' + b"[" * deep):
        assert (await post(daemon, bomb)).status in (400, 422)
        assert (await post(daemon, b'{"module":"x","args":' + bomb)).status in (400, 422)
