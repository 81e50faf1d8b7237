"""Time for tests."""

from wasmq.clock import SystemClock

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


class SteppingClock(SystemClock):
    """The machine's clocks, but somebody sets the one on the wall."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def step(self, seconds: float) -> None:
        """Set it so many seconds forward, or back."""
        self.ahead += seconds

    def wall(self) -> float:
        """Return seconds since 1970, as this clock has it."""
        return super().wall() + self.ahead
