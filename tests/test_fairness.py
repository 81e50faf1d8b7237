"""Virtual time in fuel: who goes next, worked out without a scheduler."""

import heapq
from weakref import WeakKeyDictionary

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasmq.config import Config, SchedulerConfig, Tenant
from wasmq.fairness import Fairness


def serve(fairness, queued, real, turns):
    """Start and end `turns` jobs one after the other, smallest tag first; returns the fuel each tenant used.

    `queued` is a list of (tag, sequence, tenant, weight, cost); each job that ends is followed by the next of its
    tenant, so everyone always has work waiting.
    """
    heapq.heapify(queued)
    used = dict.fromkeys(real, 0.0)
    for sequence in range(turns):
        tag, _, tenant, weight, cost = heapq.heappop(queued)
        fairness.started(tag)
        used[tenant] += real[tenant]
        fairness.settled(tenant, cost, real[tenant])
        cost = 100.0
        heapq.heappush(queued, (fairness.tag(tenant, weight, cost), 1_000 + sequence, tenant, weight, cost))
    return used


def backlog(fairness, weights, depth):
    """`depth` jobs of each tenant, all expected to cost 100 fuel."""
    return [
        (fairness.tag(tenant, weight, 100.0), place * len(weights) + number, tenant, weight, 100.0)
        for place in range(depth)
        for number, (tenant, weight) in enumerate(weights.items())
    ]


@given(
    weights=st.dictionaries(st.sampled_from("abcde"), st.floats(0.1, 10), min_size=2),
    data=st.data(),
)
def test_fuel_is_shared_by_weight_whatever_the_jobs_cost(weights, data):
    """Tenants who always have work get fuel by their weights, though nobody knew beforehand what their jobs cost.

    The bound is the algorithm's own: two backlogged tenants are never further apart than a few of their own jobs.
    """
    real = {tenant: data.draw(st.floats(1.0, 1_000.0), label=tenant) for tenant in weights}
    fairness = Fairness(100.0)
    used = serve(fairness, backlog(fairness, weights, 2), real, 500)
    normal = {tenant: used[tenant] / weights[tenant] for tenant in weights}
    slack = {tenant: 4 * max(real[tenant], 100.0) / weights[tenant] for tenant in weights}
    for one in weights:
        for other in weights:
            assert abs(normal[one] - normal[other]) <= slack[one] + slack[other]


STEPS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from(["tag", "settle", "look", "fail", "deaf"]),
        st.sampled_from("ab"),
        st.integers(0, 1_000),
    ),
    max_size=60,
)


def charge_once(daemon, finishes, virtual):
    """Carry out what a daemon says, unless it says again what has been carried out; returns what it said."""
    charges = daemon.charges()
    if HEARD.get(daemon) is not charges:
        HEARD[daemon] = charges
        for tenant, charge in charges.items():
            finish = finishes.get(tenant, virtual)
            finishes[tenant] = max(finish + charge.charge, charge.floor)
    return charges


HEARD = WeakKeyDictionary()


def look(daemon, finishes, virtual):
    """What the upkeep loop does, with a dictionary for the store."""
    charges = charge_once(daemon, finishes, virtual)
    daemon.shared({tenant: finish for tenant, finish in finishes.items() if finish > virtual or tenant in charges})


@given(STEPS)
def test_daemons_that_look_after_each_step_are_as_one(steps):
    """Whoever tags a job and whoever ends it, each tenant's next tag is what it would be in a single queue."""
    one = Fairness(100.0)
    daemons = [Fairness(100.0, lambda _: 2.0) for _ in range(3)]
    finishes = {}
    for number, step, tenant, amount in steps:
        daemon = daemons[number]
        if step == "tag":
            assert daemon.tag(tenant, 2.0, float(amount)) == one.tag(tenant, 2.0, float(amount))
        elif step == "settle" and finishes.get(tenant, 0.0) > one.virtual:
            for each in (daemon, one):
                each.settled(tenant, 100.0, float(amount))
        elif step == "fail":
            daemon.charges()
        elif step == "look":
            for each in (*daemons, one):
                each.started(each.virtual + amount)
        # Twice: the first ones have to see what the last ones did.
        for each in (*daemons, *daemons):
            look(each, finishes, one.virtual)


@given(STEPS)
def test_what_daemons_charge_adds_up(steps):
    """However seldom they look: a tenant with debts owes what all of them charged it, no more and no less."""
    daemons = [Fairness(100.0, lambda _: 2.0) for _ in range(3)]
    finishes = dict.fromkeys("ab", 1e6)
    owed = dict(finishes)
    for daemon in daemons:
        for tenant in owed:
            daemon.settled(tenant, 0.0, 0.0)
            daemon.tag(tenant, 2.0, 0.0)
        look(daemon, finishes, 0.0)
    for number, step, tenant, amount in steps:
        daemon = daemons[number]
        if step == "tag":
            daemon.tag(tenant, 2.0, float(amount))
            owed[tenant] += amount / 2.0
        elif step == "settle":
            daemon.settled(tenant, 100.0, float(amount))
            owed[tenant] += (amount - 100.0) / 2.0
        elif step == "fail":
            daemon.charges()
        elif step == "deaf":
            charge_once(daemon, finishes, 0.0)
        else:
            look(daemon, finishes, 0.0)
    # Some have to say again what they said before they come to the rest, and all have to see what the last one did.
    for daemon in 3 * daemons:
        look(daemon, finishes, 0.0)
    for daemon in daemons:
        assert {tenant: daemon.tag(tenant, 2.0, 0.0) for tenant in owed} == owed


def test_weights_are_proportions():
    """With a weight of 3 against 1, and equal jobs, three jobs start for each one of the other's."""
    fairness = Fairness(100.0)
    used = serve(fairness, backlog(fairness, {"light": 1.0, "heavy": 3.0}, 4), {"light": 100.0, "heavy": 100.0}, 400)
    assert used["heavy"] / used["light"] == pytest.approx(3.0, rel=0.05)


def test_one_tenants_jobs_keep_their_order():
    """Tags of one tenant grow with every job, so that its jobs start in the order in which they came."""
    fairness = Fairness(100.0)
    tags = [fairness.tag("a", 1.0, 100.0) for _ in range(10)]
    assert tags == sorted(set(tags))


def test_a_newcomer_does_not_wait_behind_a_backlog():
    """However many jobs another tenant has queued, a new tenant's first is among the very next to start."""
    fairness = Fairness(100.0)
    queued = [fairness.tag("flood", 1.0, 100.0) for _ in range(1_000)]
    fairness.started(queued[0])
    assert fairness.tag("new", 1.0, 100.0) < queued[1]


def test_idling_earns_nothing():
    """A tenant who comes back after a long time starts at the present, not ahead of it: it cannot save up a burst."""
    fairness = Fairness(100.0)
    fairness.tag("idle", 1.0, 100.0)
    fairness.settled("idle", 100.0, 100.0)
    for _ in range(50):
        fairness.started(fairness.tag("busy", 1.0, 100.0))
        fairness.settled("busy", 100.0, 100.0)
    assert fairness.tag("idle", 1.0, 100.0) == fairness.virtual


def test_virtual_time_never_goes_back():
    """A job that starts late, with an old tag, does not turn the clock back for those who come."""
    fairness = Fairness(100.0)
    fairness.started(500.0)
    fairness.started(200.0)
    assert fairness.virtual == 500.0


def test_a_surprise_is_paid_for():
    """A job that used more than expected moves its tenant's next tag back, one that used less moves it forward."""
    fairness = Fairness(100.0)
    for tenant, used in (("over", 1_000.0), ("under", 10.0), ("exact", 100.0)):
        fairness.tag(tenant, 1.0, 100.0)
        fairness.settled(tenant, 100.0, used)
    tags = {tenant: fairness.tag(tenant, 1.0, 100.0) for tenant in ("over", "under", "exact")}
    assert tags == {"over": 1_000.0, "under": 10.0, "exact": 100.0}


def test_a_job_that_never_ran_costs_nothing():
    """A job withdrawn or cancelled while queued gives its tenant the place back."""
    fairness = Fairness(100.0)
    fairness.tag("a", 1.0, 5_000.0)
    fairness.settled("a", 5_000.0, 0.0)
    assert fairness.tag("a", 1.0, 100.0) == 0.0


def test_what_a_call_costs_is_learned():
    """An unknown call is expected to use the given amount, a known one what it used, moving to what it uses now."""
    fairness = Fairness(100.0)
    assert fairness.expect("a", "module", "export") == 100.0
    fairness.learn("a", "module", "export", 1_000.0)
    assert fairness.expect("a", "module", "export") == 1_000.0
    before = 1_000.0
    for _ in range(50):
        fairness.learn("a", "module", "export", 10.0)
        assert 10.0 < fairness.expect("a", "module", "export") < before
        before = fairness.expect("a", "module", "export")
    assert before == pytest.approx(10.0, abs=1.0)
    assert fairness.expect("a", "module", "other") == 100.0
    assert fairness.expect("b", "module", "export") == 100.0, "what a's calls cost is told to b"


def test_what_is_known_of_calls_is_bounded():
    """Any number of modules may pass through; the oldest are forgotten."""
    fairness = Fairness(100.0)
    for number in range(50_500):
        fairness.learn("a", f"module{number}", "export", 1.0)
    assert len(fairness._costs) == 50_000
    assert fairness.expect("a", "module0", "export") == 100.0
    assert fairness.expect("a", "module50499", "export") == 1.0


def test_tenants_that_owe_or_wait_are_not_forgotten():
    """Any number of tenants may pass through; only those with no job and no debt are dropped.

    Else a tenant could shed its debt by having many names go by.
    """
    fairness = Fairness(100.0)
    fairness.tag("debtor", 1.0, 100.0)
    fairness.settled("debtor", 100.0, 1e9)
    waiting = fairness.tag("waiting", 1.0, 100.0)
    for number in range(5_000):
        name = f"passing{number}"
        fairness.started(fairness.tag(name, 1.0, 0.0))
        fairness.settled(name, 0.0, 0.0)
    assert len(fairness._accounts) < 2_100
    assert fairness.tag("debtor", 1.0, 100.0) == 1e9
    assert fairness.tag("waiting", 1.0, 100.0) == waiting + 100.0


def test_an_earlier_life_is_resumed():
    """Jobs tagged before neither stand behind all new ones nor are passed by them: virtual time goes on from theirs."""
    before = Fairness(unknown_cost=10.0)
    tags = {name: [before.tag(name, 1.0, 10.0) for _ in range(100)] for name in ("a", "b")}
    left = [(name, 1.0, order, 10.0) for name, orders in tags.items() for order in orders[50:]]
    after = Fairness(unknown_cost=10.0)
    after.resume(left)
    assert after.tag("a", 1.0, 10.0) == tags["a"][-1] + 10.0
    assert after.tag("new", 1.0, 10.0) == tags["a"][50]
    after.resume([])
    assert after.virtual == tags["a"][50]


def test_what_is_ahead_is_what_goes_before():
    """A tenant's next job waits for its own jobs, and for as much of the others' as they get meanwhile by weight."""
    fairness = Fairness(10.0)
    assert fairness.ahead("a") == 0.0
    for _ in range(4):
        fairness.tag("a", 1.0, 100.0)
    fairness.tag("b", 2.0, 100.0)
    # b has 100 to spend until its tag is 50; a's next job is tagged 400.
    assert fairness.ahead("a") == 500.0
    assert fairness.ahead("b") == 50.0 + 100.0
    assert fairness.ahead("new") == 0.0
    fairness.started(100.0)
    assert fairness.ahead("a") == 300.0
    assert fairness.ahead("b") == 0.0


def test_a_head_start_moves_turns_and_not_shares():
    """A tenant of a class goes before others that came with it; in the long run both get what their weights say."""
    fairness = Fairness(100.0, ahead=lambda tenant: 1_000.0 if tenant == "express" else 0.0)
    queued: list[tuple[float, int, str]] = []
    used = dict.fromkeys(("plain", "express"), 0.0)
    for number in range(50):
        heapq.heappush(queued, (fairness.tag("plain", 1.0, 100.0), number, "plain"))
    for number in range(50):
        heapq.heappush(queued, (fairness.tag("express", 1.0, 100.0), 50 + number, "express"))
    begun = []
    for number in range(1_000):
        order, _, tenant = heapq.heappop(queued)
        fairness.started(order, tenant)
        begun.append(tenant)
        used[tenant] += 100.0
        heapq.heappush(queued, (fairness.tag(tenant, 1.0, 100.0), 100 + number, tenant))
    assert begun[:10] == ["express"] * 10
    assert abs(used["express"] - used["plain"]) <= 1_000.0 + 100.0


def test_a_head_start_is_nothing_to_a_job_that_came_long_ago():
    """Nobody starves: who has waited while more was run than the head start goes first."""
    fairness = Fairness(100.0, ahead=lambda tenant: 1_000.0 if tenant.startswith("express") else 0.0)
    waiting = fairness.tag("plain", 1.0, 100.0)
    for number in range(11):
        fairness.started(fairness.tag(f"express{number // 2}", 1.0, 600.0), f"express{number // 2}")
        fairness.started(fairness.virtual + 100.0)
    assert fairness.tag("express-new", 1.0, 100.0) > waiting


def test_a_head_start_given_later_moves_no_time():
    """Jobs tagged without it start at their tags: whoever comes then is not put behind everybody's backlog."""
    ahead = {"late": 0.0}
    fairness = Fairness(100.0, ahead=lambda tenant: ahead.get(tenant, 0.0))
    first = fairness.tag("late", 1.0, 100.0)
    ahead["late"] = 1e9
    fairness.started(first, "late")
    assert fairness.virtual <= 100.0
    # With the head start in its tag, a job's start is the present as it would be without.
    fairness.started(fairness.tag("late", 1.0, 100.0), "late")
    assert fairness.virtual == 100.0


def test_classes_are_configured():
    """A tenant names its class; one that there is none of is an error that names both."""
    config = Config(scheduler=SchedulerConfig(classes={"express": 1e9}), tenants={"a": Tenant(class_="express")})
    assert config.tenants["a"].class_ == "express"
    with pytest.raises(ValueError, match=r"tenants\.a\.class: 'slow' is none of scheduler\.classes"):
        Config(tenants={"a": Tenant(class_="slow")})
