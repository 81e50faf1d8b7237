"""`wasi:cli` and `wasi:random`: what a program is given, where it ends, chance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NoReturn

from wasmq_worker.wasi.preview2.handles import InputStream, Nothing, OutputStream
from wasmq_worker.wasi.preview2.interface import Declaration
from wasmq_worker.wasi.preview2.outcome import Err
from wasmq_worker.wasi.signals import Exit, Violated

if TYPE_CHECKING:
    from wasmq_worker.wasi.preview2.outcome import Ok
    from wasmq_worker.wasi.preview2.state import State

# Making random bytes is slow, and nothing else runs meanwhile.
_RANDOM_MAX: Final = 1 << 20

_environment = Declaration("wasi:cli/environment")
_exit = Declaration("wasi:cli/exit")
_random = Declaration("wasi:random/random")
_insecure = Declaration("wasi:random/insecure")
_seed = Declaration("wasi:random/insecure-seed")

Declaration("wasi:cli/terminal-input").resource("terminal-input", Nothing)
Declaration("wasi:cli/terminal-output").resource("terminal-output", Nothing)


@_environment.function("get-environment", result="list<tuple<string, string>>")
def get_environment(state: State) -> list[tuple[str, str]]:
    """Return names and values."""
    pairs = (variable.decode(errors="replace").partition("=") for variable in state.world.env)
    return [(name, value) for name, _, value in pairs]


@_environment.function("get-arguments", result="list<string>")
def get_arguments(state: State) -> list[str]:
    """Return the arguments; what is not UTF-8 in them is replaced."""
    return [argument.decode(errors="replace") for argument in state.world.argv]


@_environment.function("initial-cwd", result="option<string>")
def initial_cwd(state: State) -> str:
    """Return the directory that has the job's files."""
    return "/"


@_exit.function("exit", "result")
def exit_(state: State, status: Ok | Err) -> NoReturn:
    """End the instance: raises `Exit`, with 0 or 1."""
    raise Exit(1 if isinstance(status, Err) else 0)


@_exit.function("exit-with-code", "u8")
def exit_with_code(state: State, code: int) -> NoReturn:
    """End the instance: raises `Exit`."""
    raise Exit(code)


@Declaration("wasi:cli/stdin").function("get-stdin", result="own<input-stream>")
def get_stdin(state: State) -> int:
    """Return a stream of the bytes that came with the job; what one such stream has read no other will."""
    return state.hold(InputStream(state.world.streams[0]))


@Declaration("wasi:cli/stdout").function("get-stdout", result="own<output-stream>")
def get_stdout(state: State) -> int:
    """Return a stream to what is kept of standard output."""
    return state.hold(OutputStream(state.world.streams[1]))


@Declaration("wasi:cli/stderr").function("get-stderr", result="own<output-stream>")
def get_stderr(state: State) -> int:
    """Return a stream to what is kept of standard error."""
    return state.hold(OutputStream(state.world.streams[2]))


@Declaration("wasi:cli/terminal-stdin").function("get-terminal-stdin", result="option<own<terminal-input>>")
@Declaration("wasi:cli/terminal-stdout").function("get-terminal-stdout", result="option<own<terminal-output>>")
@Declaration("wasi:cli/terminal-stderr").function("get-terminal-stderr", result="option<own<terminal-output>>")
def get_terminal(state: State) -> None:
    """Return None: no stream is a terminal."""


@_random.function("get-random-bytes", "u64", result="list<u8>")
@_insecure.function("get-insecure-random-bytes", "u64", result="list<u8>")
def get_random_bytes(state: State, length: int) -> bytes:
    """Return random bytes. Raises `Violated` for more than 1 MiB at once."""
    if length > _RANDOM_MAX:
        raise Violated(f"{length} random bytes at once, where {_RANDOM_MAX} are the most")
    return state.world.random(length)


@_random.function("get-random-u64", result="u64")
@_insecure.function("get-insecure-random-u64", result="u64")
def get_random_u64(state: State) -> int:
    """Return a random number."""
    return int.from_bytes(state.world.random(8), "little")


@_seed.function("insecure-seed", result="tuple<u64, u64>")
def insecure_seed(state: State) -> tuple[int, int]:
    """Return two random numbers, other ones each time."""
    return get_random_u64(state), get_random_u64(state)
