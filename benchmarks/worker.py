"""The worker alone, driven over its frames: what one fresh metered instance costs, and what a second worker adds.

The peer is a loop in one process (and the same in two at once) over the wasmtime package's public classes, with the
same limits and a fresh instance for each call.
"""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

from benchmarks import peer_pool
from benchmarks.common import GUESTS, Row, each_round, main
from benchmarks.driver import Worker, batch, load

JOBS, BATCHES = 1_000, 10  # in one frame, and frames one after the other
PEER_CALLS = 4_000


def measure(rounds: int) -> tuple[list[Row], list[str]]:
    path = GUESTS / "mul.wat"
    (module,) = load([path])
    jobs = batch(module, "mul", (2, 4), JOBS)
    workers = [Worker(), Worker()]
    pool = peer_pool.executor(2, path, "mul")
    ours, scaling, peer_calls, peer_scaling = [], [], [], []
    try:
        for worker in workers:
            worker.map(module)
            worker.run(jobs, JOBS, 1)
        for _ in each_round("worker", rounds):
            alone = workers[0].run(jobs, JOBS, BATCHES)
            ours.append(alone / (JOBS * BATCHES))
            scaling.append(2 * alone / _together(workers, jobs))
            alone = _loops(pool, 1)
            peer_calls.append(alone / PEER_CALLS)
            peer_scaling.append(2 * alone / _loops(pool, 2))
    finally:
        pool.shutdown()
        for worker in workers:
            worker.close()
    public = "wasmtime's public classes"
    rows = [
        Row(
            measured="one `mul` in a fresh metered instance, one worker without its scheduler",
            kind="seconds",
            ours=ours,
            peer=peer_calls,
            peer_is=public,
            target=30e-6,
        ),
        Row(
            measured="two workers at once against one",
            kind="times",
            ours=scaling,
            peer=peer_scaling,
            peer_is=f"two processes, {public}",
            target=1.8,
        ),
    ]
    note = (
        "The worker's figure includes the frames in and out, its own deadline and its slices; the peer's is the bare "
        "call, which nothing can stop. What two of the peer's processes gain is what the machine gives to two."
    )
    return rows, [note]


def _together(workers: list[Worker], jobs: bytes) -> float:
    """Return the seconds until all workers have run a batch each."""
    with ThreadPoolExecutor(len(workers)) as threads:
        start = time.perf_counter()
        list(threads.map(lambda worker: worker.run(jobs, JOBS, BATCHES), workers))
        return time.perf_counter() - start


def _loops(pool: ProcessPoolExecutor, processes: int) -> float:
    """Return the seconds that the slowest of so many processes at once needs for its calls."""
    return max(pool.map(peer_pool.loop, [PEER_CALLS] * processes, [2] * processes, [4] * processes))


if __name__ == "__main__":
    main("worker", measure, rounds=7)
