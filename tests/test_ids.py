"""Job ids: unique, in the order of time, unguessable."""

from wasmq.ids import Ids


def test_ids_are_unique_and_sort_by_time():
    """Whatever was drawn at once: no two ids share their random bytes, and a later one is greater."""
    ids = Ids()
    made = [ids.make(1_000.0 + number) for number in range(5_000)]
    assert sorted(made) == made
    assert {len(each) for each in made} == {32}
    assert len({each[12:] for each in made}) == 5_000
    assert int(made[7][:12], 16) == 1_007_000


def test_no_two_makers_share_what_they_draw():
    """It comes from the system, not from a seed."""
    assert Ids().make(0.0) != Ids().make(0.0)
