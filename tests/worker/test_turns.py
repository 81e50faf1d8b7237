"""The turn loop: slices, time, cancelling, and what a worker says and lives through."""

from __future__ import annotations

import os
import signal
import socket
from typing import TYPE_CHECKING

import pytest

from wasmq_worker.protocol import QUANTUM_BUCKETS, Cancel, Map, Prices, Setup, Start, Unmap, pack, pack_raw

from .driver import GUESTS, signatures

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .driver import Compiler, Worker

FOREVER = 10**15
MUL, LOOP, FIB, START = (GUESTS / f"{name}.wat" for name in ("mul", "loop", "fib", "start"))


def spins(worker: Worker, count: int, **limits: float) -> list[int]:
    """Start hogs, and return their tickets once each has had a turn."""
    module = worker.map(LOOP)
    limits = {"fuel": FOREVER, **limits}
    tickets = worker.start(*[worker.assign(module, "spin", **limits) for _ in range(count)])  # type: ignore[arg-type]
    worker.until_underway(tickets)
    return tickets


@pytest.mark.parametrize("engine", ["native", "interpreter"])
def test_a_short_job_answers_beside_hundreds_of_hogs(open_worker: Callable[..., Worker], engine: str) -> None:
    """Three hundred instances that never end interleave; a short job behind them ends while all of them run."""
    worker = open_worker(engine, instances=400)
    tickets = spins(worker, 300)
    assert worker.run(MUL, "mul", 2, 4).values == (8,)
    assert worker.run(FIB, "fib", 15).values == (610,)  # and one of several turns
    assert worker.live == set(tickets)
    ended = worker.cancel(tickets)
    assert {one.status for one in ended} == {"cancelled"}
    assert all(one.fuel_used >= 100_000 for one in ended)


def test_many_instances_of_several_turns_all_get_their_own_answer(worker: Worker) -> None:
    """Suspended and resumed among each other, no instance ends with another one's result or bill."""
    module = worker.map(FIB)
    numbers = [place % 24 for place in range(60)]
    outcomes = worker.outcomes(worker.start(*[worker.assign(module, "fib", number) for number in numbers]))
    alone = {number: worker.run(module, "fib", number) for number in set(numbers)}
    for number, ended in zip(numbers, outcomes, strict=True):
        assert (ended.values, ended.fuel_used) == (alone[number].values, alone[number].fuel_used)


def test_shares_get_turns_by_their_weights(open_worker: Callable[..., Worker]) -> None:
    """Of two shares with hogs, the one of weight 3 has spent three times as much when both are cancelled at once.

    A share gets its turns whole, and a start costs it a quarter of one: that leaves them less than three quanta apart.
    """
    quantum = 100_000
    worker = open_worker(quantum=quantum)
    module = worker.map(LOOP)
    jobs = [
        worker.assign(module, "spin", fuel=FOREVER, share=share, weight=weight)
        for share, weight, count in ((1, 1.0, 5), (2, 3.0, 2))
        for _ in range(count)
    ]
    burn = worker.assign(module, "burn", 100 * quantum, share=3)
    worker.start(*jobs, burn)
    worker.outcomes([burn.ticket])  # until then share 3 got as much as share 1: a hundred quanta
    spent = {1: 0, 2: 0}
    for job, ended in zip(jobs, worker.cancel([job.ticket for job in jobs]), strict=True):
        spent[job.share] += ended.fuel_used
    assert abs(spent[1] - spent[2] / 3) < 3 * quantum
    assert spent[1] > 95 * quantum


def test_fuel_at_cancel_is_whole_quanta(worker: Worker) -> None:
    """A job is ended between two turns: what it is billed is what its turns spent."""
    for ended in worker.cancel(spins(worker, 5)):
        assert ended.status == "cancelled"
        assert ended.error == "cancelled while it ran"
        assert ended.fuel_used > 0
        assert ended.fuel_used % 100_000 < 100  # a turn ends at the first loop header past its quantum


def test_cancel_before_the_first_turn(worker: Worker) -> None:
    """A job that is cancelled in the same breath as it came ends as cancelled, and costs nothing."""
    module = worker.map(LOOP)
    jobs = [worker.assign(module, "spin", fuel=FOREVER) for _ in range(3)]
    tickets = [job.ticket for job in jobs]
    worker.send(Start(jobs), Cancel(tickets))
    for ended in worker.outcomes(tickets):
        assert (ended.status, ended.fuel_used, ended.memory_peak) == ("cancelled", 0, 0)


def test_cancel_of_what_has_ended_is_nothing(worker: Worker) -> None:
    """A cancel that crosses an outcome on its way, or names nothing that is here, does no harm."""
    ticket = worker.run(MUL, "mul", 2, 4).ticket
    worker.send(Cancel([ticket, 10**9]))
    assert worker.run(MUL, "mul", 3, 5).values == (15,)
    assert worker.order.count(ticket) == 1


def test_cancel_of_one_leaves_the_others(worker: Worker) -> None:
    """Only the job that is named ends."""
    first, second, third = spins(worker, 3)
    assert worker.cancel([second])[0].ticket == second
    assert worker.live == {first, third}


def test_a_job_over_its_time_is_timed_out_and_others_go_on(worker: Worker) -> None:
    """Time ends a job that fuel does not; one with more time beside it is not touched."""
    (patient,) = spins(worker, 1)
    hasty = worker.run(LOOP, "spin", fuel=FOREVER, timeout=0.05)
    assert (hasty.status, hasty.trap) == ("timed_out", None)
    assert hasty.error == "timed out: ran for longer than 0.05 s"
    assert hasty.ran >= 0.05
    assert hasty.fuel_used > 0
    assert worker.live == {patient}


def test_time_passes_while_a_job_waits_for_its_first_turn(worker: Worker) -> None:
    """A job whose time is over before its first turn is timed out without one."""
    ended = worker.run(LOOP, "spin", fuel=FOREVER, timeout=0.0)
    assert (ended.status, ended.fuel_used) == ("timed_out", 0)


def test_a_time_that_never_comes_wakes_nobody(worker: Worker) -> None:
    """A job that ended in several turns leaves nothing behind that could end a later one."""
    for _ in range(3):
        worker.run(FIB, "fib", 22, timeout=0.2)
    (ticket,) = spins(worker, 1)
    worker.run(LOOP, "spin", fuel=FOREVER, timeout=0.3)
    assert ticket in worker.live


def test_underway_is_told_once_a_job_has_had_a_turn(worker: Worker) -> None:
    """Only jobs that want more than one turn are told of."""
    ticket = worker.run(MUL, "mul", 2, 4).ticket
    (hog,) = spins(worker, 1)
    assert hog in worker.underway
    assert ticket not in worker.underway


def test_a_module_that_was_never_mapped(worker: Worker) -> None:
    """Its job comes back, never started, with the reason; the others of the same frame run."""
    good = worker.assign(worker.map(MUL), "mul", 2, 4)
    lost = worker.assign(worker.map(MUL)._replace(number=999_999), "mul", 2, 4)
    worker.start(lost, good)
    worker.outcomes([good.ticket])
    worker.until(lambda: lost.ticket in worker.returned)
    frame = worker.returned[lost.ticket]
    assert (frame.module, frame.reason, frame.tickets) == (999_999, "never mapped here", [lost.ticket])


ELF = b"\x7fELF\x02\x01\x01" + bytes(200)


@pytest.mark.parametrize(
    "content",
    [b"", b"nothing of the kind", ELF, bytes(100_000), None],
    ids=["empty", "text", "an empty ELF file", "zeros", "no file"],
)
def test_an_artifact_that_is_none(worker: Worker, tmp_path: Path, content: bytes | None) -> None:
    """A file that is no artifact makes its jobs come back with a reason of one line; the worker lives on."""
    path = tmp_path / "bad.cwasm"
    if content is not None:
        path.write_bytes(content)
    bad = worker.map_new(MUL.read_bytes(), path)
    (ticket,) = worker.start(worker.assign(bad, "mul", 2, 4))
    worker.until(lambda: ticket in worker.returned)
    reason = worker.returned[ticket].reason
    assert reason
    assert "\n" not in reason
    assert worker.run(MUL, "mul", 2, 4).values == (8,)


@pytest.mark.parametrize("kept", [100, 4_096, -1])
def test_an_artifact_cut_short(worker: Worker, compiler: Compiler, tmp_path: Path, kept: int) -> None:
    """The same for the beginning of a good one."""
    _, good = compiler.artifact(MUL.read_bytes(), worker.engine)
    path = tmp_path / "short.cwasm"
    path.write_bytes(good.read_bytes()[:kept])
    (ticket,) = worker.start(worker.assign(worker.map_new(MUL.read_bytes(), path), "mul", 2, 4))
    worker.until(lambda: ticket in worker.returned)
    assert worker.run(MUL, "mul", 2, 4).values == (8,)


def test_an_artifact_of_the_other_engine(worker: Worker, compiler: Compiler) -> None:
    """Code for one engine is refused by the other, whatever its name says."""
    other = {"native": "interpreter", "interpreter": "native"}[worker.engine]
    _, path = compiler.artifact(MUL.read_bytes(), other)
    (ticket,) = worker.start(worker.assign(worker.map_new(MUL.read_bytes(), path), "mul", 2, 4))
    worker.until(lambda: ticket in worker.returned)
    assert worker.run(MUL, "mul", 2, 4).values == (8,)


def test_an_unmapped_module_is_forgotten(worker: Worker) -> None:
    """After `Unmap` a new job of the module comes back, also when it could never be mapped."""
    module = worker.map_new(MUL.read_bytes())
    assert worker.run(module, "mul", 2, 4).values == (8,)
    worker.send(Unmap(module.number))
    (ticket,) = worker.start(worker.assign(module, "mul", 2, 4))
    worker.until(lambda: ticket in worker.returned)
    assert worker.returned[ticket].reason == "never mapped here"
    worker.send(Unmap(module.number))
    assert worker.run(MUL, "mul", 2, 4).values == (8,)


@pytest.mark.parametrize("guest", [LOOP, GUESTS / "grow.wat"], ids=["pooled", "counted"])
def test_instances_of_an_unmapped_module_go_on(worker: Worker, guest: Path) -> None:
    """Unmapping takes nothing away from those that run; the last of them takes the module with it."""
    module = worker.map_new(guest.read_bytes())
    export, args = ("spin", ()) if guest == LOOP else ("grow_until_refused", (0,))
    jobs = [worker.assign(module, export, *args, fuel=fuel) for fuel in (300_000, FOREVER)]
    long, longest = worker.start(*jobs)
    worker.until_underway([longest])
    worker.send(Unmap(module.number))
    assert worker.outcomes([long])[0].fuel_used == 300_000
    assert worker.cancel([longest])[0].status == "cancelled"
    assert worker.run(MUL, "mul", 2, 4).values == (8,)


def test_pulses_tell_what_is_live_and_how_long_turns_took(open_worker: Callable[..., Worker]) -> None:
    """Pulses come on their own, idle or busy; their counts are since the last one."""
    worker = open_worker(pulse=0.02)
    worker.until(lambda: bool(worker.pulses))
    assert (worker.pulses[0].fresh, worker.pulses[0].running, sum(worker.pulses[0].quanta)) == (0, 0, 0)
    tickets = spins(worker, 3)
    seen = len(worker.pulses)
    worker.until(lambda: len(worker.pulses) >= seen + 3)
    busy = worker.pulses[-1]
    assert (busy.fresh, busy.running) == (0, 3)
    assert len(busy.quanta) == len(QUANTUM_BUCKETS) + 1
    assert sum(busy.quanta) > 0
    assert busy.quanta_total > 0
    worker.cancel(tickets)
    seen = len(worker.pulses)
    worker.until(lambda: len(worker.pulses) >= seen + 2)
    assert (worker.pulses[-1].fresh, worker.pulses[-1].running) == (0, 0)
    assert sum(worker.pulses[-1].quanta) == 0


def test_thousands_of_jobs_in_one_frame(worker: Worker) -> None:
    """Jobs that come in one frame all end, and none twice; the outcomes come in the order in which they came."""
    module = worker.map(MUL)
    tickets = worker.start(*[worker.assign(module, "mul", place, 3) for place in range(5_000)])
    assert [ended.values for ended in worker.outcomes(tickets)] == [(place * 3,) for place in range(5_000)]
    assert worker.order[-5_000:] == tickets


def test_a_scheduler_that_does_not_read_stops_no_turn(open_worker: Callable[..., Worker]) -> None:
    """Outcomes that the socket does not take wait in the worker; all of them come once somebody reads."""
    worker = open_worker()
    module = worker.map(f'(module (func (export "f") (result {"v128 " * 200}) {"(v128.const i64x2 1 2)" * 200}))')
    # 400 outcomes of 3 600 bytes: many times what a socket holds.
    tickets = worker.start(*[worker.assign(module, "f") for _ in range(400)])
    worker.socket.recv(1, socket.MSG_PEEK)
    while not worker.status("State").startswith("S"):  # it sleeps when it has no more to run
        pass
    assert all(len(ended.values) == 200 for ended in worker.outcomes(tickets))


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_the_end_of_the_channel_is_the_end_of_the_process(open_worker: Callable[..., Worker], busy: bool) -> None:
    """A worker whose scheduler is gone ends in good order, in the middle of its work too."""
    worker = open_worker()
    if busy:
        spins(worker, 20)
    worker.socket.close()
    assert worker.exit_status() == 0
    assert worker.last_words() == ""


def test_half_a_frame_is_no_reason_to_wait_on(open_worker: Callable[..., Worker]) -> None:
    """A scheduler that dies in the middle of a frame is gone as well."""
    worker = open_worker()
    worker.socket.sendall(pack(Unmap(1))[:-1])
    worker.socket.close()
    assert worker.exit_status() == 0


@pytest.mark.parametrize(
    "stream",
    [b"\xff\xff\xff\xff", pack_raw(b"\xc1"), pack(Setup("native", 1_000, 1, 1.0, Prices(1_000, 1)))],
    ids=["a length above the limit", "no frame", "a second Setup"],
)
def test_nonsense_from_above_ends_the_process(open_worker: Callable[..., Worker], stream: bytes) -> None:
    """A worker does not guess what its scheduler may have meant: it ends, and says why in its last line."""
    worker = open_worker()
    worker.socket.sendall(stream)
    assert worker.exit_status() == 1
    assert "Error: " in worker.last_words().splitlines()[-1]


def test_ctrl_c_is_not_for_the_worker(worker: Worker) -> None:
    """SIGINT, which a terminal sends to everyone, does not end a worker: the scheduler decides."""
    os.kill(worker.pid, signal.SIGINT)
    assert worker.run(MUL, "mul", 2, 4).values == (8,)


def test_a_path_is_mapped_as_it_is(worker: Worker, compiler: Compiler) -> None:
    """A path with spaces and letters of any alphabet is found."""
    _, artifact = compiler.artifact(START.read_bytes(), worker.engine)
    path = compiler.directory / f"ein Name mit Lücken и кириллица {worker.engine}.cwasm"
    path.write_bytes(artifact.read_bytes())
    assert worker.run(worker.map_new(START.read_bytes(), path), "get").values == (5050,)


def test_a_number_can_be_mapped_again(worker: Worker, compiler: Compiler) -> None:
    """A number whose artifact could not be mapped works from the moment it is mapped from a good one."""
    described, path = compiler.artifact(MUL.read_bytes(), worker.engine)
    bad = worker.map_new(MUL.read_bytes(), MUL)
    worker.send(Map(bad.number, str(path), False, False, 0, -1, tuple(signatures(described).values())))
    assert worker.run(bad, "mul", 2, 4).values == (8,)
