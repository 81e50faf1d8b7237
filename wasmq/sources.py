"""Where a module comes from: a file, bytes, or WebAssembly text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import anyio.to_thread

if TYPE_CHECKING:
    import os


async def read_source(source: str | os.PathLike[str] | bytes) -> tuple[bytes, str]:
    """Return a module's bytes or text, and what to call it. Raises `OSError` when its file cannot be read."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        return bytes(source), "module"
    if isinstance(source, str) and source.lstrip().startswith(("(", ";;")):
        return source.encode(), "module"
    path = Path(source)
    return await anyio.to_thread.run_sync(path.read_bytes), str(path)
