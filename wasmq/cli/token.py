"""`wasmq token`: a secret for one tenant of a daemon."""

from __future__ import annotations

import hashlib
import secrets

from wasmq.cli.exits import Exit
from wasmq.cli.options import Json  # noqa: TC001 - annotations of a command are read when it runs
from wasmq.cli.output import print_json, print_line

__all__ = ["token"]


def token(*, json: Json = False) -> int:
    """Make a random token, and print it with its SHA-256, which is what the configuration wants."""
    # The prefix lets scanners of leaked secrets, and people, see what it is.
    made = f"wasmq_{secrets.token_urlsafe(32)}"
    digest = f"sha256:{hashlib.sha256(made.encode()).hexdigest()}"
    if json:
        print_json({"token": made, "digest": digest})
    else:
        print_line(made)
        print_line(f'tokens = ["{digest}"]')
    return Exit.SUCCEEDED
