"""Which waiting call goes next, against a model: in turn between tenants, in order within one, never too many."""

from hypothesis import given
from hypothesis import strategies as st

from wasmq.lanes import Lane

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.sampled_from("abc")),
        st.tuples(st.just("take")),
        st.tuples(st.just("leave")),
        st.tuples(st.just("drop"), st.integers(0, 30)),
    ),
    max_size=60,
)


@given(room=st.integers(1, 4), steps=STEPS)
def test_lanes_keep_order_turns_and_room(room, steps):
    """Each call comes out once or is dropped; a tenant's own come in order; no tenant goes twice while another waits
    for longer than its turn; no more are out than there is room for."""
    lane = Lane(room)
    waiting = {}  # tenant → tickets, the tenant whose turn is next first
    out = 0
    for ticket, (what, *detail) in enumerate(steps):
        if what == "add":
            lane.add(detail[0], ticket, (detail[0], ticket))
            waiting.setdefault(detail[0], []).append(ticket)
        elif what == "take":
            taken = lane.take()
            if out == room or not waiting:
                assert taken is None
                continue
            tenant, tickets = next(iter(waiting.items()))
            del waiting[tenant]
            assert taken == (tenant, tickets.pop(0))
            if tickets:
                waiting[tenant] = tickets
            out += 1
        elif what == "leave" and out:
            lane.leave()
            out -= 1
        elif what == "drop":
            holder = next((tenant for tenant, tickets in waiting.items() if detail[0] in tickets), "a")
            assert lane.drop(holder, detail[0]) is (detail[0] in waiting.get(holder, ()))
            if detail[0] in waiting.get(holder, ()):
                waiting[holder].remove(detail[0])
                if not waiting[holder]:
                    del waiting[holder]
        assert lane.waiting is bool(waiting)
