"""Jobs and outcomes as bytes: what goes in comes out."""

import msgspec
from clocks import VirtualClock
from conformance import make_job
from hypothesis import given
from hypothesis import strategies as st

from wasmq.job import Call, Caps, Outcome, Program, Trap
from wasmq.store.records import decode_job, decode_outcome, encode_job, encode_outcome

values = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.binary(min_size=16, max_size=16)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
calls = st.builds(
    Call,
    module=texts,
    export=texts,
    args=st.tuples(values, values),
    program=st.none() | st.builds(Program, argv=st.tuples(texts), env=st.dictionaries(texts, texts), stdin=st.binary()),
)
outcomes = st.builds(
    Outcome,
    status=st.sampled_from(["succeeded", "trapped", "exited", "lost"]),
    values=st.lists(values, max_size=3).map(tuple),
    fuel_used=st.integers(0, 2**63 - 1),
    stdout=st.binary(),
    exit_code=st.none() | st.integers(0, 255),
    error=st.none() | texts,
    trap=st.none() | st.builds(Trap, code=texts),
    ran=st.floats(0, 1e9),
)


def typed(values):
    """Values with their types: 8 and 8.0 are equal, and not the same to a guest."""
    return [(type(value), value) for value in values]


@given(calls)
def test_jobs(call):
    """Every field, and a whole float stays a float."""
    caps = Caps(2**63 - 1, 2**32, 8.0, 1, 0)
    job = make_job("a", VirtualClock(), call=call, caps=caps, key="k", attempt=3, returned=1, order=0.1, cost=4.0)
    again = decode_job(encode_job(job), id="a", tenant="default", key="k", attempt=3, returned=1)
    assert again == job
    assert typed(again.call.args) == typed(call.args)
    for varies, reuse in ((None, "result"), ("wasi", "flight"), ("host", "never")):
        job = msgspec.structs.replace(job, varies=varies, reuse=reuse)
        again = decode_job(encode_job(job), id="a", tenant="default", key="k", attempt=3, returned=1)
        assert (again.varies, again.reuse) == (varies, reuse)


def test_whether_a_job_of_an_earlier_version_could_differ_is_unknown():
    """Its record does not say, and so nothing is promised for it."""
    old = msgspec.msgpack.encode([Call("f" * 64, "run"), Caps(1, 2, 3.0, 4), 0, 0.5, 1.0, 2.0, 3.0])
    job = decode_job(old, id="a", tenant="default", key=None, attempt=0, returned=0)
    assert (job.varies, job.reuse) == ("unknown", "never")


def test_an_outcome_is_kept_without_its_job():
    """Which stands beside it: a receipt takes no room."""
    outcome = Outcome(status="succeeded", values=(8,))
    job = make_job("a", VirtualClock())
    assert encode_outcome(outcome.of(job)) == encode_outcome(outcome)


@given(outcomes)
def test_outcomes(outcome):
    """Every field, those with their default too."""
    again = decode_outcome(encode_outcome(outcome))
    assert again == outcome
    assert typed(again.values) == typed(outcome.values)


def test_what_has_its_default_takes_no_room():
    """Most jobs succeed with one value, and there are millions of them."""
    assert len(encode_outcome(Outcome(status="succeeded", values=(8,), fuel_used=4, attempts=1))) < 60


def test_records_of_an_earlier_version_are_read():
    """A field that is new since then has its default."""
    old = msgspec.msgpack.encode({"status": "succeeded", "values": [8], "gone": 1})
    assert decode_outcome(old) == Outcome(status="succeeded", values=(8,))
