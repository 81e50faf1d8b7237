"""Fuel accounts: what is granted, reserved and spent always adds up, and nothing starts that cannot be paid for."""

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasmq.job import Call, Caps, Job
from wasmq.ledger import MOST, Balance, Hold, Ledger, Terms, Wait, account_of, cannot_pay, most_held

NOON = 1_800_000_000.0
SECOND = 1_000_000
DAY = 86_400 * SECOND


def job(fuel, *, memory=65_536, cost=0.0, tenant="acme"):
    """A job with a fuel cap, a memory cap and what it is expected to use."""
    return Job("j", Call("m", "f"), Caps(fuel, memory, 1.0, 1), tenant, 0, None, 0.0, 0.0, 0.0, cost)


def ledger(**terms):
    """A ledger in which acme has an account with these terms."""
    return Ledger({"acme": Terms(**terms)})


def free(books, now=NOON):
    """What acme's account has free."""
    return account_of(books.balances.get("acme", Balance()), books.terms["acme"], now).free


def test_an_account_reserves_the_cap_and_spends_what_was_used():
    """Reserved at the start, settled at the end, the rest is free again."""
    books = ledger(budget=100, period=DAY, burst=100)
    hold = books.reserve(job(60), NOON)
    balance = books.balances["acme"]
    assert (hold, balance.reserved, balance.spent, balance.free, balance.running) == (Hold(60, 65_536, 0), 60, 0, 40, 1)
    books.settle("acme", hold, 7)
    assert (balance.reserved, balance.spent, balance.free, balance.running, balance.memory) == (0, 7, 93, 0, 0)


def test_a_tenant_without_terms_has_no_account():
    """Nothing is reserved, and nothing is kept of it."""
    books = Ledger({})
    assert books.reserve(job(10), NOON) is None
    assert not books.balances


def test_what_cannot_be_paid_for_waits_until_it_can():
    """The account says when; a moment earlier it is not enough, then it is."""
    books = ledger(budget=100, period=10 * SECOND, burst=100)
    books.settle("acme", books.reserve(job(100), NOON), 90)
    wait = books.reserve(job(40), NOON)
    assert wait.until == NOON + 3.0
    assert isinstance(books.reserve(job(40), NOON + 2.999), Wait)
    assert books.reserve(job(40), wait.until) == Hold(40, 65_536, 0)


def test_looking_often_refills_no_slower():
    """Pieces of a unit of fuel are kept: a thousand looks grant what one does."""
    often, once = (ledger(budget=1, period=3 * SECOND, burst=3_000) for _ in range(2))
    for books in (often, once):
        books.settle("acme", books.reserve(job(3_000), NOON), 3_000)
    for step in range(1, 1_001):
        often.credit("acme", 1, NOON + step / 10)
    once.credit("acme", 1_000, NOON + 100)
    assert often.balances["acme"].granted == once.balances["acme"].granted == 3_000 + 1_000 + 33


def test_an_account_saves_up_no_more_than_its_burst():
    """A long silence is worth the burst, and what is reserved counts as still there."""
    books = ledger(budget=100, period=SECOND, burst=250)
    hold = books.reserve(job(200), NOON)
    assert free(books, NOON + 1e6) == 50
    books.settle("acme", hold, 10)
    assert free(books, NOON + 2e6) == 250


def test_a_prepaid_account_is_only_ever_credited():
    """Time grants nothing; a credit does, and what waits knows no time."""
    books = ledger(budget=100)
    books.settle("acme", books.reserve(job(100), NOON), 100)
    assert books.reserve(job(50), NOON + 1e9).until == math.inf
    assert books.credit("acme", 50, NOON)
    assert isinstance(books.reserve(job(50), NOON), Hold)


def test_a_clock_that_steps_back_grants_nothing():
    """Not for the step, and not again for the time that it repeats up to then; later it goes on from there."""
    books = ledger(budget=10, period=SECOND, burst=1_000)
    books.settle("acme", books.reserve(job(1_000), NOON), 1_000)
    books.credit("acme", 1, NOON)
    assert free(books, NOON - 3_600) == 1
    books.credit("acme", 1, NOON - 3_600)
    assert free(books, NOON - 3_600) == 2
    assert free(books, NOON - 3_599) == 12


def test_a_rate_may_be_overdrawn_once_and_is_then_paid_off():
    """One job may use more than a second's worth; nothing starts until the time that it took is over."""
    books = ledger(rate=100)
    books.settle("acme", books.reserve(job(1_000), NOON), 350)
    wait = books.reserve(job(1), NOON)
    assert wait.until == NOON + 2.5
    assert isinstance(books.reserve(job(1), wait.until), Hold)


def test_a_rate_counts_what_running_jobs_are_expected_to_use():
    """Or a thousand of them would start in the moment before the first bill."""
    books = ledger(rate=100)
    holds = [books.reserve(job(1_000, cost=60.0), NOON) for _ in range(3)]
    assert [type(hold) for hold in holds] == [Hold, Hold, Wait]
    for hold in holds[:2]:
        books.settle("acme", hold, 5)
    assert isinstance(books.reserve(job(1_000, cost=60.0), NOON), Hold)
    assert books.balances["acme"].pace == 100 - 2 * 5 - 60


def test_jobs_and_memory_are_capped_while_they_run():
    """One more waits for the end of another, at no time that could be named."""
    books = ledger(max_running=2, memory=100_000)
    first = books.reserve(job(1, memory=60_000), NOON)
    assert books.reserve(job(1, memory=60_000), NOON).until == math.inf
    second = books.reserve(job(1, memory=40_000), NOON)
    assert books.reserve(job(1, memory=0), NOON).until == math.inf
    books.settle("acme", first, 1)
    books.settle("acme", second, 1)
    assert books.balances["acme"].memory == 0


def test_a_raised_cap_reserves_as_much_more():
    """Or says that it cannot; a job that holds no fuel needs none."""
    books = ledger(budget=100)
    hold = books.reserve(job(60), NOON)
    assert isinstance(books.raise_cap("acme", hold, 41, NOON), Wait)
    hold = books.raise_cap("acme", hold, 40, NOON)
    assert (hold.fuel, books.balances["acme"].free) == (100, 0)
    unpaid = Hold(0, 65_536, 0)
    assert books.raise_cap("acme", unpaid, 10**9, NOON) == unpaid


def test_an_account_refuses_what_it_cannot_count():
    """A credit that would not fit an integer of a database changes nothing."""
    books = ledger(budget=MOST)
    books.reserve(job(1), NOON)
    assert not books.credit("acme", 1, NOON)
    assert books.balances["acme"].granted == MOST


def test_what_an_account_can_ever_hold():
    """The burst, or more after a credit; of a prepaid one nobody knows."""
    terms = Terms(budget=10, period=SECOND, burst=30)
    assert most_held(Balance(), terms, NOON) == 30
    assert most_held(Balance(granted=100, spent=20, refilled_at=0), terms, NOON) == 80
    assert most_held(Balance(), Terms(budget=10), NOON) is None


def test_several_jobs_are_paid_for_together():
    """What a batch may use is asked for as one sum, and against the rate too."""
    terms = Terms(budget=100, period=100 * SECOND, burst=100, rate=10)
    spent = Balance(granted=100, spent=60, refilled_at=round(NOON * SECOND), pace=-20, paced_at=round(NOON * SECOND))
    assert cannot_pay(spent, terms, 40, NOON).until == NOON + 2.0
    assert cannot_pay(spent, terms, 50, NOON).until == NOON + 10.0
    assert cannot_pay(spent, terms, 40, NOON + 2.0) is None


def test_taking_back_a_batch_leaves_no_trace():
    """`undo` gives back the figures as they were when `keep` was called last."""
    books = ledger(budget=100, period=SECOND, burst=100, rate=100)
    books.reserve(job(10), NOON)
    books.keep()
    before = msgspec.structs.replace(books.balances["acme"])
    books.reserve(job(20, cost=5.0), NOON + 1)
    books.credit("acme", 7, NOON + 2)
    books.undo()
    assert books.balances["acme"] == before


amounts = st.one_of(st.integers(1, 1_000), st.integers(1, MOST))
TERMS = st.builds(
    Terms,
    budget=st.none() | amounts,
    period=st.none() | st.integers(1, 366 * DAY),
    burst=amounts,
    rate=st.none() | amounts,
    max_running=st.none() | st.integers(1, 4),
    memory=st.none() | st.integers(1, 10**12),
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("start"), amounts, st.integers(0, 2**32), st.floats(0, 1e18)),
        st.tuples(st.just("end"), st.floats(0, 1)),
        st.tuples(st.just("again")),
        st.tuples(st.just("raise"), amounts),
        st.tuples(st.just("credit"), amounts),
        st.tuples(st.just("terms"), TERMS),
        st.tuples(st.just("clock"), st.floats(-1e7, 1e7)),
    ),
    max_size=40,
)


@given(first=TERMS, steps=STEPS)
def test_the_books_always_balance(first, steps):
    """Whatever is done, with whatever amounts, terms and clocks: no amount is lost, negative or too large."""
    terms = {"acme": first}
    books = Ledger(terms)
    now = NOON
    running = []
    spent = credited = 0
    for kind, *values in steps:
        match kind:
            case "start":
                fuel, memory, cost = values
                decision = books.reserve(job(fuel, memory=memory, cost=cost), now)
                if isinstance(decision, Hold):
                    running.append(decision)
                elif decision.until < 1e12:
                    # A clock of microseconds goes no further.
                    assert decision.until > now
            case "end" if running:
                hold = running.pop(0)
                used = int(hold.fuel * values[0])
                spent += used
                books.settle("acme", hold, used)
            case "again" if running:
                books.settle("acme", running.pop(), 0)
            case "raise" if running:
                more = books.raise_cap("acme", running[-1], values[0], now)
                if isinstance(more, Hold):
                    running[-1] = more
            case "credit":
                credited += books.credit("acme", values[0], now) * values[0]
            case "terms":
                terms["acme"] = values[0]
            case "clock":
                now += values[0]
        balance = books.balances.get("acme", Balance())
        assert balance.granted == balance.spent + balance.reserved + balance.free
        assert balance.spent == spent
        assert balance.reserved == sum(hold.fuel for hold in running)
        assert balance.running == len(running)
        assert balance.memory == sum(hold.memory for hold in running)
        assert balance.free >= 0
        assert credited <= balance.granted <= MOST
        assert -MOST <= balance.pace <= MOST


@given(
    budget=st.integers(1, 10**9),
    period=st.integers(SECOND, 366 * DAY),
    looks=st.lists(st.floats(0, 1e6), max_size=20),
)
def test_time_grants_the_budget_and_no_unit_more(budget, period, looks):
    """However often it is looked at: after some time it is what has accrued by then, rounded down once."""
    terms = Terms(budget=budget, period=period, burst=MOST)
    books = Ledger({"acme": terms})
    books.balances["acme"] = Balance(refilled_at=round(NOON * SECOND))
    now = NOON
    for look in looks:
        now += look
        books.credit("acme", 1, now)
    passed = round(now * SECOND) - round(NOON * SECOND)
    assert books.balances["acme"].granted == len(looks) + passed * budget // period


@pytest.mark.parametrize("lacking", [1, 7, 10**9, MOST])
@pytest.mark.parametrize(("budget", "period"), [(1, 366 * DAY), (3, 7), (10**12, 1_000), (MOST, 1_000)])
def test_the_time_it_names_is_the_first(lacking, budget, period):
    """At that instant the account has the fuel; before it had not. Where floats end, not much later."""
    terms = Terms(budget=budget, period=period, burst=MOST)
    at = round(NOON * SECOND)
    wait = cannot_pay(Balance(refilled_at=at), terms, lacking, NOON)
    instants = -(-lacking * period // budget)
    if wait.until < 1e9 * 4:
        assert round(wait.until * SECOND) == at + instants
        assert cannot_pay(Balance(refilled_at=at), terms, lacking, wait.until) is None
    else:
        assert wait.until == pytest.approx(NOON + instants / SECOND)
