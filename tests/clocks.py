"""Time for tests."""

NOON = 1_800_000_000.0
"""What every virtual clock shows first, in seconds since 1970."""


class VirtualClock:
    """A clock that stands still until `now` is moved."""

    def __init__(self) -> None:
        self.now = NOON

    def monotonic(self) -> float:
        """Return seconds since the clock was made."""
        return self.now - NOON

    def wall(self) -> float:
        """Return seconds since 1970, as this clock has it."""
        return self.now
