"""The configuration, from a file, the environment and flags: it takes effect, or one line says what is wrong."""

from __future__ import annotations

import contextlib
import io
import tempfile
from pathlib import Path
from typing import Any, Final

import msgspec

from fuzz.drawing import Draw
from wasmq.cli.app import app, main
from wasmq.cli.config import to_toml
from wasmq.config import Config, load_config
from wasmq.errors import ConfigError
from wasmq.reload import reloaded

_FILE: Final = Path(tempfile.mkdtemp(prefix="wasmq-fuzz-")) / "wasmq.toml"
_MOST: Final = 2_500  # characters of a line that says what is wrong
_WORDS: Final = (
    *("scheduler", "workers", "limits", "max", "memory", "tenants", "acme", "weight", "tokens", "server", "port"),
    *("store", "logs", "level", "prices", "host", "functions", "env.f", "periodic", "p", "cron", "module", "args"),
    *("fuel_budget", "fuel_period", "classes", "class", "fast", "sandbox", "without", "reuse", "bytes", "timezone"),
    *("fuel", "timeout", "output", "files", "host_calls", "suspend", "input", "quantum", "roles", "grant", "metrics"),
    *("", "x", "a b", '"', "é", "max_bytes", "compile_memory", "modules", "path", "limits.max", "\n", "'"),
)
_VALUES: Final = (
    *("1", "0", "-1", "16MiB", "1.5KiB", "1e400", "nan", "inf", "true", "9" * 400, "1" * 5_000, "native", "debug"),
    *("* * * * *", "0 0 31 2 *", "Europe/Berlin", "../../etc/passwd", "UTC", "sha256:" + "0" * 64, "administer"),
    *("os:getcwd", ":", "a.b:c", "observe", "hold", "full", "8EiB", "-5KiB", "0x10", "1_000", " 7 ", "\x00", "\ud800"),
    *('["a", 1]', '{"a": {}}', "[]", "{}", "null", "None"),
)
_TOML: Final = (
    *("1", "0", "-1", '"16MiB"', "1e400", "nan", "-inf", "true", "9" * 30, '"native"', '["observe"]', "[1, [2]]"),
    *("{ a = 1 }", '"* * * * *"', "1979-05-27T07:32:00Z", "07:32:00", "'x'", '"""\na"""', "0xff", "1.5", '"é\\u0000"'),
    *(f'["sha256:{"0" * 64}"]', '["a", "a"]', '"os:getcwd"', "[]", "{}", '"\\n"', '"fast"'),
)
_COMMANDS: Final = ("run", "inspect", "serve", "bench", "doctor", "submit", "jobs", "tenants", "top", "token", "x")
_FLAGS: Final = (
    *("--fuel", "--memory", "--timeout", "--json", "--port", "--workers", "--config", "--", "-", "--show", "--help"),
    *("--env", "--link", "--wait", "--no-json", "--version", "--url", "--engine", "--=", "---", "--limits"),
)


def _word(draw: Draw) -> str:
    return draw.choice(_WORDS) if draw.below(8) else draw.text(12)


def _value(draw: Draw) -> str:
    return draw.choice(_VALUES) if draw.below(4) else draw.text()


def _dotted(draw: Draw) -> str:
    return ".".join(_word(draw) for _ in range(1 + draw.below(4)))


def _environ(draw: Draw) -> dict[str, str]:
    names = ["WASMQ_" + "__".join(_word(draw) for _ in range(1 + draw.below(4))).upper() for _ in range(draw.below(4))]
    return {name: _value(draw) for name in names}


def _overrides(draw: Draw) -> dict[str, Any]:
    return {_dotted(draw): _value(draw) if draw.flag() else draw.json() for _ in range(draw.below(4))}


def _toml(draw: Draw) -> bytes:
    """Return a file that is TOML, or nearly."""
    lines = []
    for _ in range(draw.below(12)):
        key = _dotted(draw)
        lines.append(f"[{key}]" if draw.below(3) == 0 else f"{key} = {draw.choice(_TOML)}")
    return "\n".join(lines).encode("utf-8", "surrogatepass") + draw.octets(20)


def _check_line(line: str, most: int = _MOST) -> None:
    assert line.isprintable(), line
    assert 0 < len(line) <= most, len(line)


def _check(config: Config) -> None:
    """See that a configuration can be shown, read back, and reloaded."""
    shown = to_toml(config)
    _FILE.write_text(shown, encoding="utf-8")
    assert repr(load_config(_FILE, environ={})) == repr(config), shown
    reloaded(Config(), config)
    msgspec.json.encode(config, enc_hook=int)


def _load(data: bytes | None, environ: dict[str, str], overrides: dict[str, Any]) -> None:
    if data is not None:
        _FILE.write_bytes(data)
    try:
        config = load_config(None if data is None else _FILE, environ=environ, overrides=overrides)
    except ConfigError as error:
        _check_line(str(error))
    else:
        _check(config)


def _flags(draw: Draw) -> None:
    """Give the command line words: of `wasmq config` all the way, of other commands until they would be called."""
    words = [draw.choice((draw.choice(_FLAGS), _value(draw), _word(draw))) for _ in range(draw.below(6))]
    if draw.flag():
        out, err = [io.TextIOWrapper(io.BytesIO(), "utf-8", "surrogateescape") for _ in range(2)]
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main(["config", *words])
        err.seek(0)
        lines = err.read().splitlines()
        assert status in (0, 2), (status, lines)
        if status:
            (line,) = lines
            # What somebody has typed may come back, each character as an escape at most.
            _check_line(line, _MOST + 10 * sum(map(len, words)))
        return
    with contextlib.suppress(Exception), contextlib.redirect_stdout(io.StringIO()):
        app.parse_args([draw.choice(_COMMANDS), *words], exit_on_error=False, print_error=False)


def fuzz(data: bytes) -> None:
    """Configure something. Raises when that ends in anything but a configuration or one line."""
    draw = Draw(data)
    match draw.below(6):
        case 0:
            _load(draw.rest(), {}, {})
        case 1:
            _load(None, _environ(draw), {})
        case 2:
            _load(None, {}, _overrides(draw))
        case 3:
            _flags(draw)
        case _:
            _load(_toml(draw), _environ(draw), _overrides(draw))
