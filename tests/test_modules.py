"""The module library: what is loaded, compiled once, kept under seal, and never trusted further than that."""

import asyncio
import gc
import hashlib
import os
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import msgspec
import pytest
from watching import PATIENCE, running, until

import wasmq
from wasmq.compiling import Compiler
from wasmq.config import Config, ModulesConfig, Size
from wasmq.errors import InvalidModule, UnknownExport, UnknownModule
from wasmq.metrics import Metrics
from wasmq.modules import Library
from wasmq.types import FunctionType, GlobalType, MemoryType, TableType

# (module (func (export "f") (result i32) (i32.const 7)))
WASM = bytes.fromhex("0061736d010000000105016000017f03020100070501016600000a0601040041070b")
TEXT = '(module (func (export "f") (result i32) (i32.const 7)))'


@asynccontextmanager
async def library_in(directory, engine="native", options=None, **settings):
    """A library of its own that keeps its artifacts in `directory`; closed in the end."""
    config = ModulesConfig(directory=str(directory), **settings)
    async with asyncio.timeout(PATIENCE), anyio.create_task_group() as tasks:
        library = Library(config, engine, Metrics(), tasks, **(options or {}))
        try:
            yield library
        finally:
            with anyio.CancelScope(shield=True):
                await library.close()


def cached(library):
    """(hits, misses) so far."""
    return library._metrics._cache["hit"], library._metrics._cache["miss"]


def artifact_of(directory, module, suffix):
    """The one file of a module with that suffix."""
    (path,) = Path(directory).glob(f"*/{module.digest}.{suffix}")
    return path


def leb(number):
    """An unsigned LEB128 number."""
    out = bytearray()
    while True:
        byte, number = number & 0x7F, number >> 7
        out.append(byte | (0x80 if number else 0))
        if not number:
            return bytes(out)


def bomb(entries=1_000_000):
    """A valid module of three bytes an entry that takes the compiler tens of seconds: one long element segment."""
    sections = [
        (1, b"\x01\x60\x00\x00"),
        (3, b"\x01\x00"),
        (4, b"\x01\x70\x00" + leb(entries)),
        (9, b"\x01\x04\x41\x00\x0b" + leb(entries) + b"\xd2\x00\x0b" * entries),
        (10, b"\x01\x02\x00\x0b"),
    ]
    return b"\0asm\x01\0\0\0" + b"".join(bytes([number]) + leb(len(body)) + body for number, body in sections)


async def test_a_module_comes_from_bytes_text_or_a_path(tmp_path, guests):
    """Binary or text, in memory or in a file: the digest is that of the binary, so they are the same module."""
    (tmp_path / "f.wasm").write_bytes(WASM)
    (tmp_path / "f.wat").write_text(TEXT)
    sources = [WASM, bytearray(WASM), TEXT, TEXT.encode(), f"\n  {TEXT}", f";; a comment\n{TEXT}"]
    sources += [tmp_path / "f.wasm", str(tmp_path / "f.wasm"), str(tmp_path / "f.wat")]
    async with library_in(tmp_path / "cache") as library:
        for source in sources:
            module = await library.load(source)
            assert module.digest == hashlib.sha256(WASM).hexdigest()
            assert (module.kind, module.size) == ("module", len(WASM))
        assert [module.digest for module in library.all()] == [module.digest]


async def test_what_a_module_exports_and_imports_is_told(tmp_path):
    """Names and types of everything that crosses its border, in its own order."""
    text = """(module
        (import "env" "log" (func (param i32 f64) (result i64)))
        (import "env" "base" (global i32))
        (memory (export "memory") 1 16)
        (table (export "table") 2 funcref)
        (global (export "counter") (mut i64) (i64.const 0))
        (func (export "f") (param v128) (result f32 i32) (f32.const 0) (i32.const 0)))"""
    async with library_in(tmp_path) as library:
        module = await library.load(text)
    assert [(extern.name, extern.type) for extern in module.exports] == [
        ("memory", MemoryType(1, 16, False, False, 65_536)),
        ("table", TableType("funcref", 2, None, False)),
        ("counter", GlobalType("i64", True)),
        ("f", FunctionType(("v128",), ("f32", "i32"))),
    ]
    assert [(wanted.module, wanted.name, wanted.type) for wanted in module.imports] == [
        ("env", "log", FunctionType(("i32", "f64"), ("i64",))),
        ("env", "base", GlobalType("i32", False)),
    ]
    assert module.function("f") == FunctionType(("v128",), ("f32", "i32"))
    with pytest.raises(UnknownExport, match=r"'memory' is not a function but \(memory 1 16\)"):
        module.function("memory")


async def test_loading_again_gives_the_same_module(tmp_path):
    """Whatever the source, once loaded it is one object: workers map it once."""
    async with library_in(tmp_path) as library:
        first = await library.load(WASM)
        assert await library.load(WASM) is first
        text = await library.load(TEXT)
        assert await library.load(TEXT) is text
        assert library[first.digest] is text is first


async def test_one_source_is_compiled_once_however_many_ask(tmp_path):
    """Those who come while it is being compiled wait for it and get the same."""
    async with library_in(tmp_path) as library:
        modules = await asyncio.gather(*(library.load(WASM) for _ in range(10)))
        assert all(module is modules[0] for module in modules)
        assert cached(library) == (0, 1)


async def test_those_who_wait_for_a_compilation_survive_the_one_who_began_it(tmp_path):
    """When the first to ask gives up, the next does the work."""
    async with library_in(tmp_path) as library:
        loads = [asyncio.create_task(library.load(WASM)) for _ in range(3)]
        await until(lambda: library._loading)
        loads[0].cancel()
        first, *others = await asyncio.gather(*loads, return_exceptions=True)
        assert isinstance(first, asyncio.CancelledError)
        assert others[0] is others[1]
        assert others[0].size == len(WASM)


async def test_a_compilation_that_is_given_up_leaves_nothing_open():
    """However far it has got, down to the single step of the event loop: an unclosed socket would be an error here."""
    async with asyncio.timeout(PATIENCE), anyio.create_task_group() as tasks:
        for steps in range(12):
            compiler = Compiler(ModulesConfig(), "native")
            compiling = asyncio.create_task(compiler.compile(WASM, tasks))
            for _ in range(steps):
                await asyncio.sleep(0)
            compiling.cancel()
            await asyncio.gather(compiling, return_exceptions=True)
            await compiler.close()
            gc.collect()


async def test_what_is_wrong_with_a_module_is_told_to_all_who_asked(tmp_path):
    """A module that is refused is refused each time, and holds up nobody."""
    async with library_in(tmp_path) as library:
        outcomes = await asyncio.gather(*(library.load(WASM[:-1]) for _ in range(3)), return_exceptions=True)
        assert all(isinstance(outcome, InvalidModule) for outcome in outcomes)
        assert len({str(outcome) for outcome in outcomes}) == 1
        assert library.all() == []


async def test_a_second_library_finds_what_the_first_compiled(tmp_path):
    """Artifacts outlive the scheduler, for binaries and for texts; another engine has its own."""
    async with library_in(tmp_path) as library:
        module = await library.load(TEXT)
        assert cached(library) == (0, 1)
    async with library_in(tmp_path) as library:
        again = await library.load(TEXT)
        assert await library.load(WASM) is again
        assert cached(library)[1] == 0
        assert (again.digest, again.exports, again.size) == (module.digest, module.exports, module.size)
        assert again.artifact == module.artifact
    async with library_in(tmp_path, engine="interpreter") as library:
        other = await library.load(WASM)
        assert cached(library) == (0, 1)
        assert other.digest == module.digest
        assert other.artifact != module.artifact


def flip(path, place=-1):
    """Change one byte of a file."""
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "tamper",
    [
        lambda directory, module: flip(artifact_of(directory, module, "cwasm"), 100),
        lambda directory, module: artifact_of(directory, module, "cwasm").write_bytes(b""),
        lambda directory, module: artifact_of(directory, module, "cwasm").unlink(),
        lambda directory, module: flip(artifact_of(directory, module, "seal"), 20),
        lambda directory, module: flip(artifact_of(directory, module, "seal")),
        lambda directory, module: artifact_of(directory, module, "seal").write_bytes(b"\xc1"),
        lambda directory, module: artifact_of(directory, module, "seal").unlink(),
        lambda directory, module: flip(directory / "key"),
    ],
    ids=["code", "empty", "no code", "seal", "description", "nonsense", "no seal", "key"],
)
async def test_what_was_tampered_with_is_compiled_again(tmp_path, tamper):
    """One byte changed in the code, its seal or its description, or another key: nothing of it is used."""
    async with library_in(tmp_path) as library:
        module = await library.load(WASM)
        good = module.artifact.read_bytes()
    tamper(tmp_path, module)
    async with library_in(tmp_path) as library:
        again = await library.load(WASM)
        assert cached(library) == (0, 1)
        assert again.exports == module.exports
        assert again.artifact.read_bytes() == good


async def test_the_seal_of_one_module_is_no_good_for_another(tmp_path):
    """Files moved to another module's name do not make it run something else."""
    async with library_in(tmp_path) as library:
        seven = await library.load(WASM)
        eight = await library.load(WASM.replace(b"\x41\x07", b"\x41\x08"))
    for suffix in ("cwasm", "seal"):
        source, target = (artifact_of(tmp_path, module, suffix) for module in (eight, seven))
        target.write_bytes(source.read_bytes())
    async with library_in(tmp_path) as library:
        await library.load(WASM)
        assert cached(library) == (0, 1)


async def test_a_text_points_where_its_seal_says(tmp_path):
    """A text's entry that was changed or moved is not followed."""
    other = TEXT.replace("7", "8")
    async with library_in(tmp_path) as library:
        await library.load(TEXT)
        await library.load(other)
    one, two = (tmp_path / "texts" / f"{hashlib.sha256(text.encode()).hexdigest()}.seal" for text in (TEXT, other))
    two.write_bytes(one.read_bytes())
    async with library_in(tmp_path) as library:
        module = await library.load(other)
        assert module.digest == hashlib.sha256(WASM.replace(b"\x41\x07", b"\x41\x08")).hexdigest()
        assert cached(library) == (0, 1)


async def test_the_key_is_for_its_owner_only(tmp_path):
    """Nobody else can read the secret, or anything beside it."""
    async with library_in(tmp_path / "cache") as library:
        await library.load(WASM)
    assert (tmp_path / "cache" / "key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("broken", ["file", "key"])
async def test_a_directory_that_cannot_be_used_is_done_without(tmp_path, broken):
    """With no place to keep artifacts they are kept privately, and removed in the end."""
    directory = tmp_path / "cache"
    if broken == "file":
        directory.write_text("not a directory")
    else:
        directory.mkdir()
        (directory / "key").write_bytes(b"short")
    async with library_in(directory) as library:
        module = await library.load(WASM)
        assert module.artifact.exists()
        assert tmp_path not in module.artifact.parents
        private = module.artifact.parents[1]
        assert private.stat().st_mode & 0o777 == 0o700
    assert not private.exists()


async def test_a_module_above_the_size_limit_is_refused(tmp_path):
    """In bytes or in a file, before anything looks at it; the message names both sizes and the key."""
    path = tmp_path / "big.wasm"
    path.write_bytes(WASM + bytes(1_000))
    async with library_in(tmp_path / "cache", max_size=Size(1_000)) as library:
        with pytest.raises(
            InvalidModule, match=r"^module: 1.01\d* KiB is above the limit of 1000 B \(modules.max_size"
        ):
            await library.load(path.read_bytes())
        with pytest.raises(InvalidModule, match=rf"^{path}: .*\(modules.max_size\)$"):
            await library.load(path)
        assert cached(library) == (0, 0)
        assert (await library.load(WASM)).size == len(WASM)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (b"", r"^module: neither a binary module .* nor WebAssembly text: .+"),
        (WASM[:-1], r"^module: .*at byte \d+|^module: .*at byte 0x"),
        (WASM[:4], r"^module: "),
        (b"\x7fELF" + bytes(100), r"^module: neither a binary module"),
        ("(module", r"^module: neither .* at line 1, column \d+$"),
        ("(module\n  (func (result i32)))", r"^module: .*type mismatch"),
        (WASM[:4] + b"\x0d\0\1\0\1", r"^module: unexpected end"),
    ],
    ids=["empty", "truncated", "header only", "another program", "open text", "invalid text", "component"],
)
async def test_what_is_no_module_is_refused_in_one_line(tmp_path, source, message):
    """The line says what is wrong, and where when that can be said."""
    async with library_in(tmp_path) as library:
        with pytest.raises(InvalidModule, match=message) as caught:
            await library.load(source)
        assert "\n" not in str(caught.value)
        assert library.all() == []


async def test_a_file_that_is_no_module_is_named(tmp_path):
    """The path stands first in the message."""
    path = tmp_path / "letter.txt"
    path.write_text("Dear guest,\n")
    async with library_in(tmp_path / "cache") as library:
        with pytest.raises(InvalidModule, match=rf"^{path}: neither a binary module"):
            await library.load(path)


async def test_a_file_that_cannot_be_read_is_an_os_error(tmp_path):
    """Missing, or a directory: the system's own error, with the path."""
    async with library_in(tmp_path / "cache") as library:
        with pytest.raises(FileNotFoundError, match=r"none\.wasm"):
            await library.load(tmp_path / "none.wasm")
        with pytest.raises(IsADirectoryError):
            await library.load(str(tmp_path))


async def test_the_number_of_modules_is_bounded(tmp_path):
    """Beyond it a new module is refused; those that are loaded still are."""
    async with library_in(tmp_path, max_loaded=1) as library:
        module = await library.load(WASM)
        with pytest.raises(InvalidModule, match=r"1 modules are loaded already \(modules\.max_loaded\)"):
            await library.load(WASM.replace(b"\x41\x07", b"\x41\x08"))
        assert await library.load(WASM) is module


async def test_what_is_recalled_takes_the_place_of_what_is_unused(tmp_path):
    """Of the module unused longest; never of one in use or held, even if there are then too many for a while."""
    sources = [WASM.replace(b"\x41\x07", bytes([0x41, number])) for number in range(4)]
    async with library_in(tmp_path) as library:
        digests = [(await library.load(source)).digest for source in sources]
    in_use, forgotten = set(), []
    options = {"in_use": lambda: in_use, "forgotten": forgotten.append}
    async with library_in(tmp_path, max_loaded=2, options=options) as library:
        for digest in digests[:2]:
            await library.recall(digest)
        library[digests[0]]
        await library.recall(digests[2])
        assert forgotten == [digests[1]]
        in_use.add(digests[0])
        with library.holding({digests[2]}):
            with library.holding({digests[2]}):
                await library.recall(digests[3])
            assert forgotten == [digests[1], digests[3]]
            in_use.add(digests[3])
            await library.recall(digests[3])
            assert len(library.all()) == 3
        # The excess goes when it is let go, and what was forgotten is there again when it is wanted.
        assert {module.digest for module in library.all()} == {digests[0], digests[3]}
        in_use.clear()
        await library.recall(digests[1])
        assert forgotten == [digests[1], digests[3], digests[2], digests[0]]
        with pytest.raises(UnknownModule):
            library[digests[0]]
        with pytest.raises(InvalidModule, match=r"modules\.max_loaded"):
            await library.load(sources[0])


async def test_an_unknown_digest_is_named():
    """In a form that cannot break a line, however long."""
    library = Library(ModulesConfig(), "native", Metrics(), None)
    with pytest.raises(UnknownModule, match="no module with digest 'nope'"):
        library["nope"]
    with pytest.raises(UnknownModule) as caught:
        library["x\n" * 1_000]
    assert len(str(caught.value)) < 200


async def test_artifacts_unused_longest_go_first(tmp_path):
    """When the directory is above its size, old artifacts make room; a hit counts as use."""
    texts = [TEXT.replace("7", str(number)) for number in range(4)]
    async with library_in(tmp_path) as library:
        modules = [await library.load(text) for text in texts[:3]]
        for age, module in zip((300, 200, 100), modules, strict=True):
            status = module.artifact.stat()
            os.utime(module.artifact, (status.st_atime - age, status.st_mtime - age))
    size = modules[0].artifact.stat().st_size
    async with library_in(tmp_path, cache_size=Size(3 * size + size // 2)) as library:
        await library.load(texts[0])
        newest = await library.load(texts[3])
        kept = [module.artifact.exists() for module in (*modules, newest)]
        assert kept == [True, False, True, True]
        assert not modules[1].artifact.with_suffix(".seal").exists()
        await library.load(texts[1])
        assert modules[1].artifact.exists()


async def test_an_artifact_larger_than_the_cache_is_kept_while_it_is_new(tmp_path):
    """What has just been compiled is there to be mapped, however small the cache."""
    async with library_in(tmp_path, cache_size=Size(1)) as library:
        first = await library.load(WASM)
        assert first.artifact.exists()
        second = await library.load(TEXT.replace("7", "8"))
        assert second.artifact.exists()
        assert not first.artifact.exists()


async def test_an_artifact_that_is_gone_is_compiled_again_for_the_jobs_that_wait(make_scheduler, tmp_path):
    """A module whose artifact was removed or broken after it was loaded costs a compilation, and no job."""
    config = Config(modules=ModulesConfig(directory=str(tmp_path)))
    async with running(make_scheduler, config=config) as scheduler:
        module = await scheduler.load(WASM)
        module.artifact.write_bytes(b"broken")
        handles = await scheduler.submit_many([wasmq.Request(module=module.digest, export="f") for _ in range(20)])
        outcomes = await asyncio.gather(*handles)
        assert [(outcome.status, outcome.value, outcome.attempts) for outcome in outcomes] == [("succeeded", 7, 1)] * 20
        assert scheduler.module(module.digest).artifact.stat().st_size > 100


async def test_a_module_that_is_gone_altogether_loses_its_jobs_with_a_reason(make_scheduler, tmp_path):
    """With the artifact and the bytes gone there is nothing to run: the outcome says so, and other modules run."""
    config = Config(modules=ModulesConfig(directory=str(tmp_path)))
    async with running(make_scheduler, config=config) as scheduler:
        module = await scheduler.load(WASM)
        module.artifact.unlink()
        (tmp_path / "modules" / f"{module.digest}.wasm").unlink()
        with pytest.raises(wasmq.Lost, match="its module cannot be mapped"):
            await scheduler.run(module, "f")
        other = await scheduler.load(WASM.replace(b"\x41\x07", b"\x41\x08"))
        assert (await scheduler.run(other, "f")).value == 8


async def test_a_compile_bomb_is_refused_while_jobs_are_answered(make_scheduler, tmp_path):
    """A module that takes too long to compile takes nobody's turn: jobs on the same scheduler end meanwhile."""
    modules = ModulesConfig(directory=str(tmp_path), compile_timeout=1.0)
    async with running(make_scheduler, config=Config(modules=modules)) as scheduler:
        module = await scheduler.load(WASM)
        loading = asyncio.create_task(scheduler.load(bomb()))
        answered = 0
        while not loading.done():
            assert (await scheduler.run(module, "f")).value == 7
            answered += 1
        with pytest.raises(InvalidModule, match=r"compiling took longer than 1 s \(modules\.compile_timeout\)"):
            await loading
        assert answered > 10
        # The compiler is there for the next.
        assert (await scheduler.run(await scheduler.load(TEXT.replace("7", "9")), "f")).value == 9


async def test_a_module_that_needs_too_much_memory_to_compile_is_refused(tmp_path):
    """The compile process has a limit of its own, and the one after it is unharmed."""
    async with library_in(tmp_path, compile_memory=Size(700 * 2**20)) as library:
        with pytest.raises(InvalidModule, match=r"compiling needed more than 700 MiB \(modules\.compile_memory\)"):
            await library.load(bomb())
        assert (await library.load(WASM)).size == len(WASM)


async def test_a_description_that_makes_no_sense_is_refused(tmp_path, monkeypatch):
    """The compile process had a guest's bytes in its hands: what it says is checked."""
    async with library_in(tmp_path) as library:
        compile_ = library._compiler.compile

        async def lie(data, tasks):
            made = await compile_(data, tasks)
            description = msgspec.structs.replace(made.compiled.description, exports=[["f", ["func", ["../.."], []]]])
            return made._replace(compiled=msgspec.structs.replace(made.compiled, description=description))

        monkeypatch.setattr(library._compiler, "compile", lie)
        with pytest.raises(InvalidModule, match="described nonsense"):
            await library.load(WASM)
