"""The command line: `wasmq`."""

from __future__ import annotations

from wasmq.cli.app import main

__all__ = ["main"]
