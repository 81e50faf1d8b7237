"""WASI commands and reactors as jobs: what they see, what they leave behind, and what their waiting costs."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest

import wasmq
from wasmq.errors import Exited, InvalidArguments, LimitTooHigh, UnknownExport, UnsatisfiedImport

WASI = "wasi_snapshot_preview1"
# Writes a line of 100 bytes for ever.
FLOOD = f"""(module
  (import "{WASI}" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\\10\\00\\00\\00\\64\\00\\00\\00")
  (func (export "_start") (loop $again
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
    (br $again))))"""
# Sleeps for the nanoseconds in its parameter.
SLEEP = f"""(module
  (import "{WASI}" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "sleep") (param $ns i64) (result i32)
    (i32.store (i32.const 16) (i32.const 1))
    (i64.store (i32.const 24) (local.get $ns))
    (call $poll (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 128))))"""
SPIN = f"""(module
  (import "{WASI}" "sched_yield" (func $yield (result i32)))
  (memory (export "memory") 1)
  (func (export "_start") (loop $again (drop (call $yield)) (br $again))))"""
RANDOM = f"""(module
  (import "{WASI}" "random_get" (func $random (param i32 i32) (result i32)))
  (import "{WASI}" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "number") (result i64)
    (drop (call $random (i32.const 0) (i32.const 8)))
    (drop (call $clock (i32.const 0) (i64.const 1) (i32.const 8)))
    (i64.xor (i64.load (i32.const 0)) (i64.load (i32.const 8)))))"""
EXIT = f"""(module
  (import "{WASI}" "proc_exit" (func $exit (param i32)))
  (func (export "_start") (call $exit (i32.const 0)))
  (func (export "leave") (param i32) (result i32) (call $exit (local.get 0)) (i32.const 1)))"""
REACTOR = f"""(module
  (import "{WASI}" "sched_yield" (func $yield (result i32)))
  (global $ready (mut i32) (i32.const 0))
  (memory (export "memory") 1)
  (func (export "_initialize") (drop (call $yield)) (global.set $ready (i32.add (global.get $ready) (i32.const 1))))
  (func (export "ready") (result i32) (global.get $ready)))"""
ENGINES = pytest.mark.parametrize("engine", ["native", "interpreter"])


@ENGINES
async def test_a_command_sees_what_it_was_given(make_scheduler, guests, engine):
    """Arguments follow the program's name; environment and standard input arrive; output and exit code come back."""
    async with make_scheduler(engine=engine) as scheduler:
        hello = await scheduler.load(guests / "wasi" / "hello.wasm")
        job = await scheduler.submit(hello, argv=["-n", "two words"], env={"NAME": "wörld"}, stdin=b"abc", name="hello")
        outcome = await job
    lines = outcome.stdout.decode().splitlines()
    assert lines == ["argument 0: hello", "argument 1: -n", "argument 2: two words", "NAME=wörld", "ABC"]
    assert (outcome.status, outcome.exit_code, outcome.stderr) == ("exited", 3, b"done\n")
    assert outcome.error == "exited with code 3"


@ENGINES
async def test_files_go_in_and_come_out(make_scheduler, guests, engine):
    """A job's files are there for it, those that were asked for come back by name, and the next job sees nothing."""
    async with make_scheduler(engine=engine) as scheduler:
        files = await scheduler.load(guests / "wasi" / "files.wasm")
        outcome = await scheduler.run(files, files={"in.txt": b"first second"}, collect=["out.txt"])
        assert (outcome.exit_code, outcome.files) == (0, {"out.txt": b"dnoces tsrif"})
        everything = await scheduler.run(files, files={"in.txt": b"ab"}, collect=["/"])
        assert everything.files == {"/in.txt": b"ab", "/out.txt": b"ba"}
        with pytest.raises(Exited) as raised:
            await scheduler.run(files)
    assert raised.value.outcome.exit_code not in (0, None)


async def test_a_file_that_was_not_produced_is_named(make_scheduler, guests):
    """A job that ends well without a file that was wanted has not done its work: one line says which is missing."""
    async with make_scheduler() as scheduler:
        files = await scheduler.load(guests / "wasi" / "files.wasm")
        with pytest.raises(Exited, match=r"did not produce the wanted files 'nonesuch\.txt'") as raised:
            await scheduler.run(files, files={"in.txt": b"ab"}, collect=["out.txt", "nonesuch.txt"])
    assert raised.value.outcome.files == {"out.txt": b"ba"}


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"files": {"../x": b""}}, r"files: '\.\./x' tries to leave the job's scratch directory"),
        ({"files": {"a/../../x": b""}}, "tries to leave"),
        ({"files": {"a//b": b""}}, "not the plain path"),
        ({"files": {"": b""}}, "not the plain path"),
        ({"files": {"a": "text"}}, r"files\['a'\]: wants bytes, got 'text' \(str\)"),
        ({"files": {"a": b"", "a/b": b""}}, "'a' is a file, and the directory of another"),
        ({"files": {"a": b"", "/a": b""}}, "two of the paths name the same file"),
        ({"files": {"a/": b"x"}}, r"files\['a/'\]: an empty directory, by the slash at its end, has no content"),
        ({"files": {"a/": b"", "a": b""}}, "'a' is a file, and the directory of another"),
        ({"files": {"../a/": b""}}, "tries to leave"),
        ({"files": {"/": b""}}, "not the plain path"),
        ({"files": [("a", b"")]}, "files: wants a mapping"),
        ({"collect": "out.txt"}, "collect: wants a list of strings"),
        ({"collect": ["/etc/../.."]}, "collect: .* tries to leave"),
        ({"argv": ["a\0b"]}, r"argv\[0\]: .* NUL"),
        ({"argv": [1]}, r"argv\[0\]: wants a string, got 1 \(int\)"),
        ({"argv": "words"}, "argv: wants a list of strings"),
        ({"argv": ["\ud800"]}, r"argv\[0\]: .* cannot be written as UTF-8"),
        ({"env": {"A=B": "c"}}, 'env: a variable needs a name without "="'),
        ({"env": {"": "c"}}, "env: a variable needs a name"),
        ({"env": {"A": 1}}, r"env\['A'\]: wants a string"),
        ({"stdin": "text"}, "stdin: wants bytes"),
        ({"dirs": {"data": "rx"}}, r"dirs\['data'\]: wants 'ro' or 'rw', got 'rx'"),
        ({"dirs": ["../data"]}, "dirs: .* tries to leave"),
    ],
)
async def test_a_world_that_cannot_be_is_refused(make_scheduler, guests, options, line):
    """What no guest could be given is refused before anything is queued, with one line that names it."""
    async with make_scheduler() as scheduler:
        hello = await scheduler.load(guests / "wasi" / "hello.wasm")
        with pytest.raises(InvalidArguments, match=line) as raised:
            await scheduler.submit(hello, **options)
        assert await scheduler.jobs() == []
    assert "\n" not in str(raised.value)


async def test_what_a_job_brings_is_bounded(make_scheduler, guests):
    """Files above the job's quota, and more input than one job may bring, are refused and name the limit."""
    async with make_scheduler() as scheduler:
        hello = await scheduler.load(guests / "wasi" / "hello.wasm")
        with pytest.raises(LimitTooHigh, match=r"files: .* above its limit of 1 KiB \(limits\.files\)"):
            await scheduler.submit(hello, files={"a": bytes(1025)}, limits=wasmq.Limits(files="1KiB"))
        with pytest.raises(LimitTooHigh, match=r"input: .* above the maximum of 16 MiB \(limits\.max\.input\)"):
            await scheduler.submit(hello, stdin=bytes(16 * 2**20 + 1))
        with pytest.raises(LimitTooHigh, match=r"files: .* above the maximum of 32 MiB"):
            await scheduler.submit(hello, limits=wasmq.Limits(files="33MiB"))


async def test_many_heavy_jobs_fit_through_the_wall(make_scheduler, guests):
    """Jobs whose input and output are more than one frame could carry together are carried in several."""
    async with make_scheduler() as scheduler:
        files = await scheduler.load(guests / "wasi" / "files.wasm")
        hello = await scheduler.load(guests / "wasi" / "hello.wasm")
        jobs = [await scheduler.submit(hello, files={"heavy": bytes(8 * 2**20)}, collect=["heavy"]) for _ in range(12)]
        small = await scheduler.run(files, files={"in.txt": b"x y"}, collect=["out.txt"])
        outcomes = [await job for job in jobs]
    assert small.files == {"out.txt": b"y x"}
    assert {len(outcome.files["heavy"]) for outcome in outcomes} == {8 * 2**20}


@ENGINES
async def test_output_is_kept_to_the_cap_and_paid_for(make_scheduler, engine):
    """A flood of output ends with its fuel: what was kept is the cap, and it says that there was more."""
    async with make_scheduler(engine=engine) as scheduler:
        flood = await scheduler.load(FLOOD)
        outcome = await (await scheduler.submit(flood, limits=wasmq.Limits(fuel=1_000_000, output=1_000)))
        unbounded = await (await scheduler.submit(flood, limits=wasmq.Limits(fuel=100_000)))
    assert (outcome.status, outcome.fuel_used) == ("out_of_fuel", 1_000_000)
    assert (len(outcome.stdout), outcome.stdout_truncated, outcome.stderr_truncated) == (1_000, True, False)
    assert 0 < len(unbounded.stdout) <= 100_000, "no more bytes than there was fuel to pay for them"
    assert not unbounded.stdout_truncated


async def test_the_price_of_output_is_configured(config):
    """The prices of a call and of a byte are those of the configuration, to the unit."""
    used = {}
    for call, byte in ((0, 0), (500, 0), (0, 7)):
        prices = wasmq.config.PricesConfig(call=call, byte=byte)
        priced = wasmq.Config(modules=config.modules, prices=prices)
        async with wasmq.Scheduler(workers=1, config=priced) as scheduler:
            exits = await scheduler.load(RANDOM)
            used[call, byte] = (await scheduler.run(exits, "number", deterministic=True)).fuel_used
    free = used[0, 0]
    assert used[500, 0] == free + 2 * 500
    assert used[0, 7] == free + 7 * (8 + 8), "eight random bytes and eight of a clock"


@ENGINES
async def test_a_guest_that_calls_its_host_is_pre_empted(make_scheduler, guests, engine):
    """A guest that does nothing but call its host does not keep its worker from others."""
    async with make_scheduler(engine=engine) as scheduler:
        spin = await scheduler.load(SPIN)
        mul = await scheduler.load(guests / "mul.wat")
        hog = await scheduler.submit(spin, limits=wasmq.Limits(fuel=10**12, timeout=600.0))
        for _ in range(20):
            assert (await scheduler.run(mul, "mul", 2, 4)).value == 8
        assert hog.outcome is None
        await hog.cancel()
        assert (await hog).status == "cancelled"


@ENGINES
async def test_a_sleeper_costs_nobody_anything(make_scheduler, guests, engine):
    """Jobs that sleep for an hour do not keep others from running, and a cancel ends one at once."""
    async with make_scheduler(engine=engine) as scheduler:
        sleep = await scheduler.load(SLEEP)
        mul = await scheduler.load(guests / "mul.wat")
        limits = wasmq.Limits(timeout=3_000.0)
        sleepers = [await scheduler.submit(sleep, "sleep", 3_600 * 10**9, limits=limits) for _ in range(200)]
        assert [outcome.value async for outcome in scheduler.map(mul, "mul", [(n, 2) for n in range(100)])] == [
            2 * n for n in range(100)
        ]
        for job in sleepers:
            await job.cancel()
        outcomes = [await job for job in sleepers]
    assert {outcome.status for outcome in outcomes} == {"cancelled"}


@ENGINES
async def test_sleeping_counts_against_the_timeout_not_the_fuel(make_scheduler, engine):
    """A short sleep spends the same fuel as a long one, and a timeout ends a sleep that is too long."""
    async with make_scheduler(engine=engine) as scheduler:
        sleep = await scheduler.load(SLEEP)
        short = await scheduler.run(sleep, "sleep", 1)
        longer = await scheduler.run(sleep, "sleep", 20_000_000)
        late = await (await scheduler.submit(sleep, "sleep", 3_600 * 10**9, limits=wasmq.Limits(timeout=0.05)))
    assert short.fuel_used == longer.fuel_used
    assert longer.ran >= 0.02
    assert (late.status, late.error) == ("timed_out", "timed out: ran for longer than 0.05 s")


@ENGINES
async def test_deterministic_guests_repeat_themselves(make_scheduler, guests, engine):
    """With `deterministic` clock, chance and sleep are the same each time; without, chance is not."""
    async with make_scheduler(engine=engine) as scheduler:
        random = await scheduler.load(RANDOM)
        sleep = await scheduler.load(SLEEP)
        fixed = [await scheduler.run(random, "number", deterministic=True) for _ in range(3)]
        free = [await scheduler.run(random, "number") for _ in range(3)]
        hour = await scheduler.run(sleep, "sleep", 3_600 * 10**9, deterministic=True)
    assert len({(outcome.value, outcome.fuel_used) for outcome in fixed}) == 1
    assert len({outcome.value for outcome in free}) == 3
    assert hour.value == 0


@ENGINES
async def test_an_exit_ends_whatever_runs(make_scheduler, engine):
    """Exit code 0 is a command's success; an exit from a function that owes a value is an exit, even with 0."""
    async with make_scheduler(engine=engine) as scheduler:
        exits = await scheduler.load(EXIT)
        command = await scheduler.run(exits)
        codes = [(await (await scheduler.submit(exits, "leave", code))).exit_code for code in (0, 1, 2**32 - 1)]
    assert (command.status, command.exit_code, command.value) == ("succeeded", 0, None)
    assert codes == [0, 1, 2**32 - 1]


@ENGINES
async def test_a_reactor_is_initialised_first(make_scheduler, engine):
    """A reactor's `_initialize` runs once before the export, and is paid for; calling it by name runs it once too."""
    async with make_scheduler(engine=engine) as scheduler:
        reactor = await scheduler.load(REACTOR)
        outcome = await scheduler.run(reactor, "ready")
        itself = await scheduler.run(reactor, "_initialize")
        short = await (await scheduler.submit(reactor, "ready", limits=wasmq.Limits(fuel=500)))
    assert outcome.value == 1
    assert 1_000 < itself.fuel_used < outcome.fuel_used
    assert short.status == "out_of_fuel"


async def test_imports_of_another_type_are_named(make_scheduler):
    """An import that WASI has with another type, and one it does not have, are refused with one line."""
    async with make_scheduler() as scheduler:
        wrong = await scheduler.load(f'(module (import "{WASI}" "fd_write" (func (param i64))) (func (export "f")))')
        with pytest.raises(UnsatisfiedImport, match=r"fd_write has another type: it wants .*i64.*there is .*i32 i32"):
            await scheduler.submit(wrong, "f")
        unknown = await scheduler.load(f'(module (import "{WASI}" "fd_fly" (func)) (func (export "f")))')
        with pytest.raises(UnsatisfiedImport, match=r"nobody offers the import wasi_snapshot_preview1\.fd_fly"):
            await scheduler.submit(unknown, "f")


async def test_a_module_that_is_no_command_needs_an_export(make_scheduler, guests):
    """Without an export's name there must be a `_start`; the refusal names the functions that there are."""
    async with make_scheduler() as scheduler:
        mul = await scheduler.load(guests / "mul.wat")
        with pytest.raises(UnknownExport, match=r"no export '_start'; the module's functions: mul"):
            await scheduler.submit(mul)


@pytest.mark.parametrize("instead", ["(memory 1)", '(memory 1) (func (export "memory"))', '(memory (export "m") 1)'])
async def test_a_guest_without_memory_ends_alone(make_scheduler, guests, instead):
    """A guest that calls WASI and exports no memory by that name is trapped and told so; others go on."""
    text = FLOOD.replace('(memory (export "memory") 1)', instead)
    async with make_scheduler() as scheduler:
        bare = await scheduler.load(text)
        mul = await scheduler.load(guests / "mul.wat")
        outcome = await (await scheduler.submit(bare))
        assert (await scheduler.run(mul, "mul", 2, 4)).value == 8
        workers = scheduler.metrics.render().decode()
    assert outcome.status == "trapped"
    assert outcome.error == "trapped: fd_write needs the guest's memory, and the guest exports none as 'memory'"
    assert "wasmq_worker_restarts_total{" not in workers


@pytest.mark.parametrize("memory", ["1", "1 4"])
async def test_a_memory_that_grows_between_calls_is_seen_whole(make_scheduler, memory):
    """A call reaches what the memory has grown to since the last one, and nothing beyond that."""
    text = f"""(module
      (import "{WASI}" "clock_time_get" (func $time (param i32 i64 i32) (result i32)))
      (memory (export "memory") {memory})
      (func (export "late") (result i32 i32 i32)
        (call $time (i32.const 1) (i64.const 0) (i32.const 65536))
        (drop (memory.grow (i32.const 1)))
        (call $time (i32.const 1) (i64.const 0) (i32.const 65536))
        (call $time (i32.const 1) (i64.const 0) (i32.const 131072))))"""
    async with make_scheduler() as scheduler:
        assert (await scheduler.run(await scheduler.load(text), "late")).value == (21, 0, 21), "FAULT, then room, FAULT"


async def test_truncated_outputs_are_counted(make_scheduler):
    """The metric counts the jobs that wrote more than was kept."""
    async with make_scheduler() as scheduler:
        flood = await scheduler.load(FLOOD)
        for output in (10, 1_000_000):
            await (await scheduler.submit(flood, limits=wasmq.Limits(fuel=100_000, output=output)))
        text = scheduler.metrics.render().decode()
    assert "wasmq_output_truncated_total 1.0" in text


async def test_directories_have_names_of_their_own(make_scheduler):
    """A named directory is preopened after the root and its two names; in a read-only one nothing can be changed."""
    text = f"""(module
      (import "{WASI}" "fd_prestat_dir_name" (func $name (param i32 i32 i32) (result i32)))
      (import "{WASI}" "path_create_directory" (func $make (param i32 i32 i32) (result i32)))
      (memory (export "memory") 1)
      (data (i32.const 100) "sub")
      (func (export "name") (result i32) (drop (call $name (i32.const 5) (i32.const 0) (i32.const 4)))
        (i32.load (i32.const 0)))
      (func (export "make") (result i32) (call $make (i32.const 5) (i32.const 100) (i32.const 3))))"""
    async with make_scheduler() as scheduler:
        module = await scheduler.load(text)
        assert (await scheduler.run(module, "name", dirs=["data"])).value == int.from_bytes(b"data", "little")
        assert (await scheduler.run(module, "make", dirs={"data": "rw"})).value == 0
        assert (await scheduler.run(module, "make", dirs={"data": "ro"})).value == 69, "ROFS"


async def test_an_empty_directory_can_be_brought(make_scheduler):
    """A file whose name ends in a slash is a directory with nothing in it, and the guest can write there."""
    text = f"""(module
      (import "{WASI}" "path_create_directory" (func $make (param i32 i32 i32) (result i32)))
      (memory (export "memory") 1)
      (data (i32.const 100) "a/b/c")
      (func (export "make") (result i32) (call $make (i32.const 3) (i32.const 100) (i32.const 5))))"""
    async with make_scheduler() as scheduler:
        module = await scheduler.load(text)
        assert (await scheduler.run(module, "make", files={"a/b/": b""})).value == 0
        assert (await scheduler.run(module, "make", files={"a/": b""})).value == 44, "NOENT"


async def test_a_sleeper_is_ended_by_a_stop(make_scheduler):
    """A scheduler that stops does not wait for sleepers beyond its grace."""
    async with make_scheduler(grace=0.0) as scheduler:
        sleep = await scheduler.load(SLEEP)
        job = await scheduler.submit(sleep, "sleep", 3_600 * 10**9, limits=wasmq.Limits(timeout=3_000.0))
        with anyio.fail_after(60):
            while (await scheduler.job(job.id)).state != "running":
                await anyio.lowlevel.checkpoint()
    assert job.outcome is not None
    assert job.outcome.status == "cancelled"
