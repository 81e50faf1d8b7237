"""A worker lives as long as its scheduler: what a job took is given back, however the job ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from wasmq_worker.protocol import Cancel, Start, Unmap

from .driver import GUESTS, MIB

if TYPE_CHECKING:
    from collections.abc import Callable

    from .driver import Worker

BATCH = 50
THROW = '(module (tag $t) (func (export "f") (throw $t)))'
TABLE = '(module (table 200000 funcref) (func (export "f")))'
BIG_SIGNATURE = f'(module (func (export "f") (result {"i64 " * 50}) {"(i64.const 1)" * 50}))'
COLLECTED = """(module (type $n (struct (field (ref null $n)))) (func (export "f") (local $h (ref null $n))
    (loop $again (local.set $h (struct.new $n (local.get $h))) (br $again))))"""
GROWN = '(module (memory 1) (func (export "f") (drop (memory.grow (i32.const 9))) (loop $again (br $again))))'
NO_ROOM = '(module (memory 100) (func (export "f")))'

# What to run, with what, within what, and how it must end.
MIX: list[tuple[Any, str, tuple[int, ...], dict[str, float], str]] = [
    (GUESTS / "mul.wat", "mul", (2, 4), {}, "succeeded"),
    (GUESTS / "start.wat", "get", (), {}, "succeeded"),
    (GUESTS / "fib.wat", "fib", (20,), {}, "succeeded"),
    (GUESTS / "grow.wat", "grow", (40,), {}, "succeeded"),
    (BIG_SIGNATURE, "f", (), {}, "succeeded"),
    (GUESTS / "divide.wat", "divide", (42, 0), {}, "trapped"),
    (GUESTS / "traps.wat", "unreachable", (), {}, "trapped"),
    (GUESTS / "recursion.wat", "dive", (), {}, "trapped"),
    (THROW, "f", (), {}, "trapped"),
    (TABLE, "f", (), {}, "trapped"),
    (GUESTS / "grow.wat", "grow_until_refused", (4,), {"memory": MIB}, "out_of_memory"),
    (GUESTS / "grow.wat", "grow_until_refused", (100,), {"memory": 64 * MIB}, "out_of_memory"),
    (COLLECTED, "f", (), {"memory": MIB // 2}, "out_of_memory"),
    (NO_ROOM, "f", (), {"memory": MIB}, "out_of_memory"),
    (GUESTS / "loop.wat", "spin", (), {"fuel": 1_000}, "out_of_fuel"),
    (GUESTS / "loop.wat", "spin", (), {"fuel": 250_000}, "out_of_fuel"),
    (GUESTS / "loop.wat", "spin", (), {"fuel": 10**12, "timeout": 0.0}, "timed_out"),
    (GUESTS / "loop.wat", "spin", (), {"fuel": 10**12, "timeout": 0.001}, "timed_out"),
    (GUESTS / "loop.wat", "spin", (), {"fuel": 10**12}, "cancelled"),
    (GROWN, "f", (), {"fuel": 10**12}, "cancelled"),
]


def run_mix(worker: Worker, jobs: int) -> None:
    """Run so many jobs of all kinds, in batches, and see that each ends as it must."""
    modules = [worker.map(source) for source, *_ in MIX]
    for start in range(0, jobs, BATCH):
        kinds = [(start + place) % len(MIX) for place in range(BATCH)]
        batch = []
        for kind in kinds:
            _, export, args, limits, _ = MIX[kind]
            batch.append(worker.assign(modules[kind], export, *args, **limits))  # type: ignore[arg-type]
        stop = [job.ticket for job, kind in zip(batch, kinds, strict=True) if MIX[kind][-1] == "cancelled"]
        worker.send(Start(batch), Cancel(stop[::2]))  # these have had no turn
        worker.until_underway(stop[1::2])
        worker.send(Cancel(stop[1::2]))
        outcomes = worker.outcomes([job.ticket for job in batch])
        assert [ended.status for ended in outcomes] == [MIX[kind][-1] for kind in kinds]
        worker.ended.clear()
        worker.underway.clear()
        worker.order.clear()


def resident(worker: Worker) -> int:
    """Return the resident size of a worker in bytes."""
    size, unit = worker.status("VmRSS").split()
    assert unit == "kB"
    return int(size) * 1_024


def flat(worker: Worker, jobs: int, warm: int) -> None:
    """See that after a warm-up so many jobs leave no memory, descriptor or mapping behind.

    The bound is 128 bytes a job and 2 MiB: the first is less than any one thing that a job has (a store, an outcome, a
    buffer), the second is for what the allocator keeps of the largest batch. The table of descriptors and the number of
    threads must not grow at all.
    """
    run_mix(worker, warm)
    before, table = resident(worker), worker.status("FDSize")
    run_mix(worker, jobs)
    assert resident(worker) - before < 128 * jobs + 2 * MIB
    assert worker.status("FDSize") == table
    assert worker.status("Threads") == "1"


@pytest.mark.parametrize(("engine", "jobs"), [("native", 4_000), ("interpreter", 1_500)])
def test_jobs_leave_nothing_behind(open_worker: Callable[..., Worker], engine: str, jobs: int) -> None:
    """Thousands of jobs of every ending keep a worker as it was."""
    flat(open_worker(engine), jobs=jobs, warm=1_000)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["native", "interpreter"])
def test_many_jobs_leave_nothing_behind(open_worker: Callable[..., Worker], engine: str) -> None:
    """The same over a longer time."""
    flat(open_worker(engine), jobs=20_000, warm=4_000)


def test_deadlines_leave_nothing_behind(open_worker: Callable[..., Worker]) -> None:
    """A job of several turns that ends long before its time keeps nothing of the worker until then.

    1 MiB is what the allocator may take; a note of each job's deadline would come to twice that.
    """
    worker = open_worker(quantum=1_000)
    module = worker.map(GUESTS / "loop.wat")

    def run(batches: int) -> None:
        for _ in range(batches):
            jobs = [worker.assign(module, "burn", 1_500, timeout=86_400.0) for _ in range(BATCH)]
            worker.outcomes(worker.start(*jobs))
            worker.ended.clear()

    run(60)
    before = resident(worker)
    run(300)
    assert resident(worker) - before < MIB


def test_modules_leave_nothing_behind(open_worker: Callable[..., Worker]) -> None:
    """A module that is unmapped, idle or with an instance that runs on, gives back its descriptor and its memory.

    The table of descriptors must not grow; 1 KiB a module and 1 MiB are less than a mapped artifact takes.
    """
    worker = open_worker()
    pooled, counted = (GUESTS / "loop.wat").read_bytes(), GROWN.encode()

    def cycle(count: int) -> None:
        for _ in range(count):
            idle, busy = worker.map_new(pooled), worker.map_new(counted)
            assert worker.run(idle, "burn", 100).status == "succeeded"
            (ticket,) = worker.start(worker.assign(busy, "f", fuel=10**12))
            worker.until_underway([ticket])
            worker.send(Unmap(idle.number), Unmap(busy.number))
            assert worker.cancel([ticket])[0].status == "cancelled"

    cycle(50)
    before, table = resident(worker), worker.status("FDSize")
    cycle(300)
    assert resident(worker) - before < 1_024 * 600 + MIB
    assert worker.status("FDSize") == table
