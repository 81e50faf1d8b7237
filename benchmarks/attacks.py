"""A victim's short jobs beside each attack of tests/attacks, against what they take alone.

    python -m benchmarks.attacks
    python -m benchmarks.attacks endless_loop slow_heads

One daemon with one worker, so that guests share it, is attacked by one client after the other while another tenant's
jobs come at a steady rate that waits for no answer. Every attack has to be contained: it ends as its file says, the
victim is answered the same to the unit of fuel, and the daemon and its worker are the processes that they were. Before
each attack the victim is measured alone; all of that together is what its figures beside one are held against. What
every attack did to it goes to benchmarks/results/attacks.json.
"""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

import wasmq
from benchmarks import common, plot
from benchmarks.attacker import Attacked
from benchmarks.common import RESULTS, ROOT, Row, each_round, figure, quantile, say, workers_of
from benchmarks.daemon import daemon

# The attacks and their configuration are those of the tests; `attacker` has said where they are.
from arena import attacks  # isort: skip
from clients import SUM, configuration  # isort: skip

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.daemon import Daemon
    from wasmq.remote import RemoteModule

    Ask = Callable[[str, str], Attacked]

SECONDS = 0.6  # alone before each attack, and at least so long beside it
RATE = 100  # jobs of the victim a second
WAITING = 40  # of them at once: fewer than the requests that the daemon takes from one client
MAX_BATCH = 5_000  # jobs: more than any guests' attack submits at once
KINDS = ("by_guests", "by_clients")
NEED_THE_PROGRAM = {
    "a_function_of_another_tenant",
    "a_host_function_that_raises",
    "host_calls_in_the_start_function",
    "host_calls_without_end",
    "poisoned_artifacts",
    "timed_tokens",
    "values_beyond_every_range",
}
"""What takes a scheduler or a daemon inside one's own program, and so is no attack on another process."""
NEED_A_NEW_DAEMON = {"large_batches", "probed_modules", "probed_results"}
"""What counts on a daemon where the attacker has not been before."""
TARGET_RATIO = 1 / 2  # of its figure alone


class Measured(msgspec.Struct, kw_only=True):
    """One attack: how often it was made, and the seconds that the victim's jobs took alone and beside it.

    `alone` is the same list for every attack of a kind: what came before each of them. `problem` says why it was not
    contained, if it was not.
    """

    kind: str
    name: str
    times: int = 0
    alone: list[float]
    beside: list[float] = []
    problem: str | None = None

    def ratio(self, share: float) -> float:
        """How many times longer a quantile is beside the attack."""
        return quantile(self.beside, share) / quantile(self.alone, share)


def chosen(names: Sequence[str]) -> list[Measured]:
    """Return the attacks of these names, all of them without any. Raises ValueError for a name that is none."""
    alone: dict[str, list[float]] = {kind: [] for kind in KINDS}
    known = {
        name: Measured(kind=kind, name=name, alone=alone[kind])
        for kind in KINDS
        for name in attacks(kind)
        if name not in NEED_THE_PROGRAM | NEED_A_NEW_DAEMON
    }
    for name in names:
        if name not in known:
            raise ValueError(f"no attack on a daemon is called {name!r}; they are in tests/attacks")
    return [known[name] for name in names or known]


def measure(rounds: int, attacks: Sequence[Measured]) -> None:
    """Make each attack so many times, and keep what it did.

    Raises RuntimeError when one has ended the daemon or its worker, which nothing can be measured after.
    """
    for _ in each_round("attacks", rounds):
        for kind in KINDS:
            of_kind = [attack for attack in attacks if attack.kind == kind]
            if of_kind:
                asyncio.run(_round(kind, of_kind))


async def _round(kind: str, attacks: Sequence[Measured]) -> None:
    arguments = ("--config", str(_configuration(kind)))
    with daemon(*arguments, workers=1) as attacked, _attacker(attacked) as attack:
        async with wasmq.Client(attacked.url, token="token-of-victim") as client:
            victim = Victim(client, await client.load(SUM))
            await victim.ask_for(SECONDS)
            # This process is the victim's clock: its own collections, tens of milliseconds each, are no attack's doing.
            gc.collect()
            gc.freeze()
            workers = workers_of(attacked.process.pid)
            for each in attacks:
                each.alone += await victim.ask_for(SECONDS)
                done = asyncio.create_task(asyncio.to_thread(attack, kind, each.name))
                each.beside += await victim.ask_until(done)
                outcome = await done
                if outcome.problem:
                    each.problem = outcome.problem
                if attacked.process.poll() is not None or workers_of(attacked.process.pid) != workers:
                    raise RuntimeError(f"{each.name} is not contained: the daemon or its worker is another process")
                each.times += outcome.times


class Victim:
    """A tenant whose jobs come at a steady rate. Every answer is the same as the first, or it raises RuntimeError."""

    def __init__(self, client: wasmq.Client, module: RemoteModule) -> None:
        self._client = client
        self._module = module
        self._expected: tuple[Any, ...] = ()

    async def ask_for(self, seconds: float) -> list[float]:
        """Return what the jobs of so many seconds took."""
        return await self.ask_until(asyncio.create_task(asyncio.sleep(seconds)))

    async def ask_until(self, done: asyncio.Task[Any]) -> list[float]:
        """Return what jobs took, in seconds, from the moment at which each was to come, until a task is done."""
        took: list[float] = []
        places = asyncio.Semaphore(WAITING)
        start = time.perf_counter()
        async with asyncio.TaskGroup() as tasks:
            number = 0
            while not done.done():
                # From the moment it was meant to come: that a place had to be waited for is part of what it took.
                moment = start + number / RATE
                await asyncio.sleep(max(0.0, moment - time.perf_counter()))
                await places.acquire()
                tasks.create_task(self._ask(moment, took, places))
                number += 1
        return took

    async def _ask(self, moment: float, took: list[float], places: asyncio.Semaphore) -> None:
        try:
            outcome = await self._client.run(self._module, "sum", 1000)
        finally:
            places.release()
        took.append(time.perf_counter() - moment)
        answer = (outcome.status, outcome.value, outcome.fuel_used, outcome.attempts)
        self._expected = self._expected or answer
        if answer != self._expected or outcome.status != "succeeded":
            raise RuntimeError(f"the victim was answered {answer}, and {self._expected} before")


@contextmanager
def _attacker(attacked: Daemon) -> Iterator[Ask]:
    """Start who attacks, and yield what makes one attack and returns how it went; it blocks."""
    command = [sys.executable, "-m", "benchmarks.attacker", attacked.url]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        told, heard = process.stdin, process.stdout
        heard.readline()  # it has come up

        def attack(kind: str, name: str) -> Attacked:
            print(kind, name, SECONDS, file=told, flush=True)
            return msgspec.json.decode(heard.readline() or b"{}", type=Attacked)

        yield attack


def _configuration(kind: str) -> Path:
    """Write the tests' configuration of a daemon under attack, and return its path.

    Guests have to come through the door that clients are to be held up at: for them it has the usual bounds, and takes
    larger batches.
    """
    directory = Path(common.config().modules.directory or ".")
    settings = msgspec.to_builtins(configuration(directory), enc_hook=int)
    tables = {f"tenants.{name}": tenant for name, tenant in settings["tenants"].items()}
    tables["server"] = settings["server"] if kind == "by_clients" else {"max_batch": MAX_BATCH}
    lines = []
    for name, values in tables.items():
        lines.append(f"[{name}]")
        # What JSON writes of numbers, texts and lists is TOML too.
        lines += [f"{key} = {json.dumps(value)}" for key, value in values.items() if value not in (None, {}, [])]
    path = directory / f"{kind}.toml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def rows_of(what: str, alone: list[float], beside: list[float], target: float | None) -> list[Row]:
    """Return the victim's p50 and p99 beside something; `target` is of the p99."""
    return [
        Row(
            measured=f"a victim's job beside {what}, {name}",
            kind="seconds",
            ours=[quantile(beside, share)],
            peer=[quantile(alone, share)],
            peer_is="alone",
            target_ratio=target if name == "p99" else None,
        )
        for name, share in (("p50", 0.5), ("p99", 0.99))
    ]


def summary(measured: Sequence[Measured]) -> tuple[list[Row], list[str]]:
    """Return rows for all attacks together and for the one beside which the victim's p99 suffers most."""
    alone = [seconds for before in _alone(measured).values() for seconds in before]
    beside = [seconds for each in measured for seconds in each.beside]
    worst = max(measured, key=lambda each: each.ratio(0.99))
    rows = [
        *rows_of(f"{len(measured)} attacks, one after the other", alone, beside, TARGET_RATIO),
        *rows_of(f"the worst of them, {worst.name}", worst.alone, worst.beside, TARGET_RATIO),
    ]
    over = sum(each.ratio(0.99) > 1 / TARGET_RATIO for each in measured)
    held = [each for each in measured if each.problem is None]
    note = (
        f"{len(held)} of {len(measured)} attacks were contained, {sum(each.times for each in measured)} times in all: "
        f"in each round one daemon and one worker for each kind were the same processes to the end. Beside {over} of "
        f"{len(measured)} the p99 was more than twice that alone; {RATE} jobs of the victim came a second."
    )
    return rows, [note, *[f"NOT contained: {each.name}: {each.problem}" for each in measured if each.problem]]


def lines_of(measured: Sequence[Measured]) -> Iterator[str]:
    """Yield what there is to tell of each attack, the worst last."""
    for each in sorted(measured, key=lambda each: each.ratio(0.99)):
        told = [
            f"{name} {figure(quantile(each.alone, share), 'seconds')} alone, "
            f"{figure(quantile(each.beside, share), 'seconds')} beside, {figure(each.ratio(share), 'times')}"
            for name, share in (("p50", 0.5), ("p99", 0.99))
        ]
        yield f"{each.name} ({each.times} times): {'; '.join(told)}"


def main() -> None:
    """Be the command line: all attacks, or those that are named."""
    parser = common.arguments(4)
    parser.add_argument("names", nargs="*", help="attacks, as their files in tests/attacks are called; else all")
    options = parser.parse_args()
    try:
        measured = chosen(options.names)
    except ValueError as error:
        parser.error(str(error))

    def all_of_them(rounds: int) -> tuple[list[Row], list[str]]:
        measure(rounds, measured)
        for line in lines_of(measured):
            say(line)
        if not options.names:
            _keep(measured)
        return summary(measured)

    common.tell("attacks", all_of_them, options)


def _alone(measured: Sequence[Measured]) -> dict[str, list[float]]:
    """Return, for each kind of attack, what the victim's jobs took alone."""
    return {each.kind: each.alone for each in measured}


def _keep(measured: Sequence[Measured]) -> None:
    (RESULTS / "attacks.json").write_bytes(msgspec.json.encode(measured) + b"\n")
    plot.latencies(
        RESULTS / "attacks.svg",
        {
            "alone": [seconds for before in _alone(measured).values() for seconds in before],
            "beside attacks": [seconds for each in measured for seconds in each.beside],
        },
        title=f"What a victim's short job takes alone, and beside {len(measured)} attacks",
    )


if __name__ == "__main__":
    main()
