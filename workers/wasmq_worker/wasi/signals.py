"""What ends or parks a guest in the middle of a call to its host."""

from __future__ import annotations


class Exit(Exception):
    """Raised by `proc_exit` and `wasi:cli/exit`: the guest is done, with exit status `code` (0 to 2**32 - 1)."""

    def __init__(self, code: int) -> None:
        super().__init__(f"exit status {code}")
        self.code = code


class Sleep(Exception):
    """Raised by a function that waits for what is not ready yet: call it again with the same arguments at `until`.

    `until` is in nanoseconds of the clock that `World` was given as `monotonic`; None means never. Calling earlier does
    no harm: it raises again.
    """

    def __init__(self, until: int | None) -> None:
        super().__init__("for ever" if until is None else f"until {until} ns")
        self.until = until


class Violated(Exception):
    """Raised when a guest breaks what it promises by calling a function: it ends as if it had trapped.

    The only argument is the reason, one line for people.
    """
