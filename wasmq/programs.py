"""What a WASI guest is given to see, checked before it is queued. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from wasmq.errors import InvalidArguments, LimitTooHigh
from wasmq.job import Program
from wasmq.types import printable
from wasmq.units import format_size

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wasmq.job import Access

MAX_FILES: Final = 10_000
"""Files, directories and names to collect that one job may name."""
MAX_PATH: Final = 4_096
MAX_PART: Final = 255
"""Bytes of a path, and of one name in it, as on most file systems."""
_ACCESS: Final[dict[Any, Access]] = {"ro": "ro", "rw": "rw"}


def check_program(given: Mapping[str, Any], quota: int, max_input: int) -> Program | None:
    """Return what was said of the guest's world, None when that was nothing.

    `given` has the fields of `Program`; `quota` is the bytes that its files may have, `max_input` those that the job
    may bring. Raises `InvalidArguments` or `LimitTooHigh`.
    """
    if not any(given.values()):
        return None
    program = Program(
        argv=_strings("argv", given.get("argv") or ()),
        env=_environment(given.get("env") or {}),
        stdin=_bytes("stdin", given.get("stdin") or b""),
        files=_files(given.get("files") or {}),
        collect=_collect(given.get("collect") or ()),
        dirs=_directories(given.get("dirs") or {}),
        name=_text("name", given.get("name") or Program().name),
        deterministic=bool(given.get("deterministic")),
    )
    files = sum([len(content) for content in program.files.values()])
    if files > quota:
        raise LimitTooHigh(
            f"files: {format_size(files)} came with the job, above its limit of {format_size(quota)} (limits.files)"
        )
    size = program.weight()
    if size > max_input:
        raise LimitTooHigh(
            f"input: argv, env, stdin and files are {format_size(size)} together, above the maximum of "
            f"{format_size(max_input)} (limits.max.input)"
        )
    return program


def _strings(what: str, values: Any) -> tuple[str, ...]:
    if isinstance(values, (str, bytes)) or not isinstance(values, Sequence):
        raise InvalidArguments(f"{what}: wants a list of strings, got {_shown(values)}")
    return tuple([_text(f"{what}[{place}]", value) for place, value in enumerate(values)])


def _text(what: str, value: Any) -> str:
    if not isinstance(value, str):
        raise InvalidArguments(f"{what}: wants a string, got {_shown(value)}")
    if "\0" in value:
        raise InvalidArguments(f"{what}: {printable(value, 60)!r} holds a NUL character, which no guest could be given")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidArguments(f"{what}: {_shown(value)} cannot be written as UTF-8") from None
    return value


def _bytes(what: str, value: Any) -> bytes:
    if not isinstance(value, (bytes, bytearray, memoryview)):
        raise InvalidArguments(f"{what}: wants bytes, got {_shown(value)}")
    return bytes(value)


def _environment(values: Any) -> dict[str, str]:
    if not isinstance(values, Mapping):
        raise InvalidArguments(f"env: wants a mapping of names to strings, got {_shown(values)}")
    checked = {}
    for name, value in values.items():
        if not isinstance(name, str) or not name or "=" in name:
            raise InvalidArguments(f'env: a variable needs a name without "=", got {_shown(name)}')
        checked[_text("env", name)] = _text(f"env[{printable(name, 40)!r}]", value)
    return checked


def _files(values: Any) -> dict[str, bytes]:
    if not isinstance(values, Mapping):
        raise InvalidArguments(f"files: wants a mapping of paths to bytes, got {_shown(values)}")
    _count("files", values)
    checked = {}
    for path, content in values.items():
        name = f"files[{printable(str(path), 40)!r}]"
        is_directory = isinstance(path, str) and path.endswith("/")
        if is_directory and content:
            raise InvalidArguments(f"{name}: an empty directory, by the slash at its end, has no content")
        checked[_path("files", path[:-1]) + "/" if is_directory else _path("files", path)] = _bytes(name, content)
    if len(checked) < len(values):
        raise InvalidArguments("files: two of the paths name the same file")
    directories = {directory for path in checked for directory in _above(path)}
    for path in checked:
        if path in directories:
            raise InvalidArguments(f"files: {printable(path, 60)!r} is a file, and the directory of another as well")
    return checked


def _collect(values: Any) -> tuple[str, ...]:
    names = _strings("collect", values)
    _count("collect", names)
    for name in names:
        if name != "/":
            _path("collect", name.removesuffix("/"))
    return names


def _directories(values: Any) -> dict[str, Access]:
    if not isinstance(values, Mapping):
        values = dict.fromkeys(_strings("dirs", values), "rw")
    _count("dirs", values)
    checked: dict[str, Access] = {}
    for name, access in values.items():
        _path("dirs", name)
        if access not in _ACCESS:
            raise InvalidArguments(f"dirs[{printable(name, 40)!r}]: wants 'ro' or 'rw', got {_shown(access)}")
        checked[name] = _ACCESS[access]
    return checked


def _count(what: str, values: Sequence[Any] | Mapping[Any, Any]) -> None:
    if len(values) > MAX_FILES:
        raise InvalidArguments(f"{what}: {len(values)} names are above the limit of {MAX_FILES}")


def _path(what: str, path: Any) -> str:
    """Return a path inside the scratch directory, relative to it."""
    inside = _text(what, path).removeprefix("/")
    parts = inside.split("/")
    shown = printable(path, 60)
    if ".." in parts:
        raise InvalidArguments(f"{what}: {shown!r} tries to leave the job's scratch directory")
    if "" in parts or "." in parts:
        raise InvalidArguments(f"{what}: {shown!r} is not the plain path of a file in the job's scratch directory")
    if len(inside.encode()) > MAX_PATH or any(len(part.encode()) > MAX_PART for part in parts):
        raise InvalidArguments(f"{what}: {shown!r} is longer than a path can be")
    return inside


def _above(path: str) -> Iterable[str]:
    """Yield the directories that a path goes through."""
    end = path.find("/")
    while end >= 0:
        yield path[:end]
        end = path.find("/", end + 1)


def _shown(value: Any) -> str:
    text = repr(value)
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(value).__name__})"
