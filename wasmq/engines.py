"""What is known of the engine on the trusted side without loading it: its version."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path

from wasmq_worker.protocol import ENGINE_REVISION


@cache
def engine_version() -> str:
    """Return the version of the installed wasmtime package, read from its metadata's directory name."""
    spec = importlib.util.find_spec("wasmtime")
    if spec is None or spec.origin is None:
        return "none"
    site = Path(spec.origin).parent.parent
    versions = [info.stem.removeprefix("wasmtime-") for info in site.glob("wasmtime-*.dist-info")]
    return max(versions, default="unknown")


def engine_label() -> str:
    """Return the engine's version and the revision of our settings, as outcomes and metrics name them."""
    return f"wasmtime {engine_version()} r{ENGINE_REVISION}"
