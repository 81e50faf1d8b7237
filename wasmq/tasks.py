"""Task groups that are entered in one method and left in another."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anyio.abc import TaskGroup


async def leave(group: TaskGroup, error: BaseException | None) -> bool | None:
    """Leave a cancelled task group; returns whether it takes the cancellation that ends the block as its own.

    The caller's own exception goes on as it is, neither wrapped in a group nor swallowed with the cancellation.
    """
    if isinstance(error, asyncio.CancelledError):
        return await group.__aexit__(type(error), error, error.__traceback__)
    await group.__aexit__(None, None, None)
    return None
