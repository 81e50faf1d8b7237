"""A machine of its own for tests: a Debian kernel under QEMU, and all that tests need in its initial memory disk."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from importlib.metadata import distributions
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

TREE = Path(__file__).parents[2]
INSIDE = Path(__file__).with_name("inside.py")
QEMU = "qemu-system-x86_64"
MEMORY = 3072  # MiB, of which the files take some hundred
PATIENCE = 1_800.0  # seconds: a processor that is emulated takes ten times as long, and more on a busy machine
OLDEST = (6, 12)
"""The first kernel whose Landlock has everything that the walls' tests try."""
_NO_PART = {"__pycache__", "benchmarks", "docs", "requirements", "build", "dist", "test", "idlelib", "site-packages"}
_TOO_LARGE = {
    "mypy",
    "matplotlib",
    "numpy",
    "numpy.libs",
    "PIL",
    "fontTools",
    "componentize_py",
    "pip",
    "setuptools",
    "atheris",
}
_MOUNTS = ("/dev", "/mnt", "/proc", "/run", "/sys", "/tmp")


class CannotBoot(Exception):
    """Raised with the reason why there is nothing to boot here."""


def kernel() -> Path:
    """Return WASMQ_TEST_KERNEL, or the newest kernel in /boot. Raises `CannotBoot` where none will do."""
    if shutil.which(QEMU) is None:
        raise CannotBoot(f"there is no {QEMU}: apt-get install qemu-system-x86")
    given = os.environ.get("WASMQ_TEST_KERNEL")
    found = [Path(given)] if given else [path for path in Path("/boot").glob("vmlinuz-*") if os.access(path, os.R_OK)]
    good = [path for path in found if _version(path) >= OLDEST]
    if not good:
        wanted = ".".join(str(part) for part in OLDEST)
        raise CannotBoot(
            f"no kernel of {wanted} or later in /boot: apt-get install linux-image-cloud-amd64, on Debian 12 the "
            "newest of linux-image-6.12.*-cloud-amd64-unsigned; or set WASMQ_TEST_KERNEL"
        )
    return max(good, key=_version)


def boot(directory: Path) -> dict[str, Any]:
    """Boot a machine that runs `inside.py`, and return what that has told. Raises `CannotBoot`, or RuntimeError."""
    image, console, told = directory / "initramfs", directory / "console", directory / "told"
    vmlinuz = kernel()
    _write(image)
    command = [QEMU, "-accel", "tcg", "-cpu", "max", "-m", str(MEMORY), "-nodefaults"]
    # Its clock counts instructions: how busy this machine is decides nothing in there.
    command += ["-icount", "shift=1,sleep=off"]
    command += ["-display", "none", "-no-reboot", "-kernel", str(vmlinuz), "-initrd", str(image)]
    command += ["-append", f"console=ttyS0 panic=-1 rdinit={sys.executable} -- {INSIDE}"]
    command += ["-serial", f"file:{console}", "-serial", f"file:{told}"]
    subprocess.run(command, stdin=subprocess.DEVNULL, timeout=PATIENCE, check=True)
    if not told.stat().st_size:
        raise RuntimeError(f"the machine said nothing but: {console.read_text(errors='replace')[-4_000:]}")
    result: dict[str, Any] = json.loads(told.read_bytes())
    return result


def _version(path: Path) -> tuple[int, ...]:
    found = re.search(r"(\d+)\.(\d+)\.?(\d*)", path.name)
    return tuple(int(part or 0) for part in found.groups()) if found else (0,)


def _write(image: Path) -> None:
    """Write all files as the archive that a kernel unpacks: "newc", as in the kernel's buffer-format.rst."""
    entries = dict.fromkeys(step for path in (*map(Path, _MOUNTS), *_files()) for step in _steps(path))
    with image.open("wb") as out:
        for number, path in enumerate(entries, 1):
            _entry(out.write, path, number)
        out.write(_header("TRAILER!!!", 0, 0, 0, 0))


def _steps(path: Path) -> Iterator[Path]:
    """Yield all that has to be there for a path to lead to its file: directories, links, and what they lead to."""
    here = Path("/")
    for number, part in enumerate(path.parts[1:], 2):
        here /= part
        yield here
        if here.is_symlink():
            yield from _steps(Path(os.path.normpath(here.parent / here.readlink()), *path.parts[number:]))
            return


def _files() -> Iterator[Path]:
    """Yield this tree, this Python and its packages, a shell, and the libraries that they load."""
    programs = [Path(sys.executable), Path(sys._base_executable), Path("/bin/sh")]  # type: ignore[attr-defined]
    found = [
        *programs,
        Path("/etc/passwd"),
        Path(sys.prefix, "pyvenv.cfg"),
        *_below(TREE, _NO_PART),
        *_below(Path(sysconfig.get_path("stdlib")), _NO_PART),
    ]
    packages = {Path(str(each.locate_file(""))) for each in distributions()} | {Path(sysconfig.get_path("purelib"))}
    for directory in sorted(packages):
        found += _below(directory, _NO_PART | _TOO_LARGE)
    yield from found
    binaries = [str(path) for path in found if path.suffix == ".so" or path in programs]
    listed = subprocess.run(
        ["ldd", *binaries], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False
    )
    yield from {Path(path): None for path in re.findall(r"(/\S+) \(0x", listed.stdout)}


def _below(directory: Path, left_out: set[str]) -> Iterator[Path]:
    for path in sorted(directory.iterdir()):
        if path.name in left_out or path.name.startswith((".", "_virtualenv")):
            continue
        if path.is_dir() and not path.is_symlink():
            yield path
            yield from _below(path, left_out)
        elif path.is_file() and path.suffix != ".a":
            yield path


def _entry(write: Any, path: Path, number: int) -> None:
    found = path.lstat()
    if path.is_symlink():
        data, mode = os.fsencode(path.readlink()), found.st_mode
    elif path.is_dir():
        # A worker of another user has to get at what is below.
        data, mode = b"", 0o041777 if path == Path("/tmp") else 0o040755
    else:
        data, mode = path.read_bytes(), found.st_mode
    write(_header(str(path).lstrip("/"), number, mode, int(found.st_mtime), len(data)))
    write(data + bytes(-len(data) % 4))


def _header(name: str, number: int, mode: int, changed: int, size: int) -> bytes:
    encoded = os.fsencode(name) + b"\0"
    fields = (number, mode, 0, 0, 1, changed, size, 0, 0, 0, 0, len(encoded), 0)
    head = b"070701" + b"".join(b"%08x" % field for field in fields) + encoded
    return head + bytes(-len(head) % 4)
