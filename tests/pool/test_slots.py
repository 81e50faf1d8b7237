"""Who gets an instance when few are free, worked out without a worker."""

from hypothesis import given
from hypothesis import strategies as st

from wasmq.pool.slots import FACTOR, Slots

TENANTS = "abcde"


def fill(slots, capacity, tenants):
    """Give instances that are never given back, in turn to whoever may have one, until nobody may; returns the rest."""
    free = capacity
    given = True
    while given:
        given = False
        for tenant in tenants:
            if free and tenant not in slots.sated(free):
                slots.enter(tenant)
                free -= 1
                given = True
    return free


@given(capacity=st.integers(10, 500), hogs=st.integers(1, 20))
def test_something_stays_free_for_a_newcomer(capacity, hogs):
    """However many instances tenants with endless jobs would take, one that holds none gets one.

    Unless they are so many that their even parts leave less than one.
    """
    slots = Slots()
    free = fill(slots, capacity, [f"hog{number}" for number in range(hogs)])
    if capacity >= (FACTOR + 1) * hogs:
        assert free >= 1
    if free:
        assert "new" not in slots.sated(free)


@given(capacity=st.integers(100, 1_000), hogs=st.integers(1, 5))
def test_what_is_kept_free_is_little(capacity, hogs):
    """One tenant alone may hold nine in ten, more of them more together."""
    assert fill(Slots(), capacity, [f"hog{number}" for number in range(hogs)]) <= capacity / 10 + 1


@given(st.lists(st.tuples(st.sampled_from(TENANTS), st.booleans(), st.integers(0, 5))))
def test_it_counts(steps):
    """Numbers are each tenant's own for good, and who is sated is who holds so many times what is free."""
    slots = Slots()
    held = dict.fromkeys(TENANTS, 0)
    numbers = {}
    for tenant, comes, free in steps:
        if comes:
            number = slots.enter(tenant)
            assert numbers.setdefault(tenant, number) == number
            held[tenant] += 1
        elif held[tenant]:
            slots.leave(tenant)
            held[tenant] -= 1
        assert slots.held == sum(held.values())
        assert set(slots.sated(free)) == {name for name, count in held.items() if count and count >= FACTOR * free}
    assert len(set(numbers.values())) == len(numbers)


def test_tenants_that_pass_through_are_forgotten():
    """Any number may come and go; who has an instance keeps its number whatever comes."""
    slots = Slots()
    stays = slots.enter("stays")
    for number in range(20_001):
        slots.enter(f"t{number}")
        slots.leave(f"t{number}")
    assert slots.enter("stays") == stays
    assert (len(slots._holders), len(slots._idle)) == (1, 10_000)
    assert slots.enter("t0") > 20_001
