"""What the configuration says of one tenant."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from wasmq.config.kinds import Count, Fuel, Role, Section, Size, Token
from wasmq.job import Reuse
from wasmq.ledger import Terms


class Tenant(Section, frozen=True):
    """One tenant's share of the machine, and its account.

    `weight` counts against the other tenants. What is None has no bound. `grant` names host functions that its jobs
    may import, such as "env.lookup".
    """

    weight: Annotated[float, msgspec.Meta(gt=0, le=1e6)] = 1.0
    class_: str | None = msgspec.field(default=None, name="class")
    """One of the scheduler's `classes`."""
    max_queued: Count | None = None
    """Jobs waiting; None is the scheduler's own `max_queued`."""
    max_running: Count | None = None
    """Jobs running."""
    memory: Size | None = None
    """Bytes that its running jobs may use together: the sum of their caps."""
    fuel_budget: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] | None = None
    """Fuel that it may use in each `fuel_period`; without a period fuel paid for in advance, to which credits add."""
    fuel_period: Annotated[float, msgspec.Meta(ge=0.001, le=366 * 86400)] | None = None
    """Seconds in which the budget is granted again, little by little."""
    fuel_burst: Fuel | None = None
    """Fuel that the account saves up at most, and that it begins with; None is the budget."""
    fuel_rate: Fuel | None = None
    """Fuel per second: nothing starts while the tenant has used more than that."""
    on_empty: Literal["hold", "refuse"] = "hold"
    """What becomes of a job that the account cannot pay for now: it waits in the queue, or is refused."""
    grant: tuple[str, ...] = ()
    reuse: Reuse = "never"
    """Whether another job's run may answer the jobs that do not say: "never", "flight" or "result"."""
    record: bool = False
    """Whether the host calls are recorded of the jobs that do not say."""
    tokens: tuple[Token, ...] = ()
    """The SHA-256 of each token that speaks for the tenant over HTTP, as `wasmq token` prints it."""
    roles: tuple[Role, ...] = ("submit", "observe")
    """What these tokens are good for."""

    @property
    def problem(self) -> str | None:
        """What does not go together in its terms, in one line; None when all does."""
        if self.fuel_period is None:
            return None if self.fuel_burst is None else "fuel_burst is for a budget with a fuel_period; set that too"
        if self.fuel_budget is None:
            return "fuel_period is the period of a budget; set fuel_budget too"
        if self.fuel_budget == 0:
            return "fuel_budget: 0 in each fuel_period is nothing; without a period it can begin so, and be credited"
        return None

    @property
    def terms(self) -> Terms | None:
        """What its account allows; None when it needs none."""
        if self.fuel_budget is self.fuel_rate is self.max_running is self.memory is None:
            return None
        period = self.fuel_period
        return Terms(
            budget=self.fuel_budget,
            period=None if period is None else round(period * 1_000_000),
            burst=self.fuel_burst or self.fuel_budget or 0,
            rate=self.fuel_rate,
            max_running=self.max_running,
            memory=self.memory,
            refuses=self.on_empty == "refuse",
        )
