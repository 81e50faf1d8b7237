"""Where settings come from, and what is said of a wrong one."""

import msgspec
import pytest

from wasmq.config import Config, ModulesConfig, Size, Tenant, configured, load_config
from wasmq.errors import ConfigError


@pytest.fixture
def write(tmp_path):
    """Write a configuration file and return its path."""

    def write(text):
        path = tmp_path / "wasmq.toml"
        path.write_text(text)
        return path

    return write


def fails(key, *, source, **kwargs):
    """Loading fails with one line that begins with its source and names the key."""
    with pytest.raises(ConfigError) as caught:
        load_config(environ={}, **kwargs) if "environ" not in kwargs else load_config(**kwargs)
    message = str(caught.value)
    assert message.startswith(f"{source}: ")
    assert key in message
    assert "\n" not in message
    return message


def test_nothing_said_is_the_defaults():
    """Every key has a default, and all of them fit each other."""
    assert load_config(environ={}) == Config()


def test_every_number_is_finite():
    """There is no unlimited: every number of the defaults is one that can be reached."""

    def numbers(value):
        if isinstance(value, msgspec.Struct):
            for name in value.__struct_fields__:
                yield from numbers(getattr(value, name))
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield value

    found = list(numbers(Config()))
    assert len(found) > 20
    assert all(0 < number < 2**63 for number in found)


def test_a_file_sets_what_it_names(write):
    """Sections, sizes as text, tenants by name; all else stays."""
    path = write("""
        [scheduler]
        workers = 3
        [limits]
        memory = "1 MiB"
        max.fuel = 2_000_000_000
        [tenants.acme]
        weight = 2.5
        max_queued = 7
    """)
    config = load_config(path, environ={})
    assert config.scheduler.workers == 3
    assert config.limits.memory == 2**20
    assert type(config.limits.memory) is Size
    assert config.limits.max.fuel == 2 * 10**9
    assert config.tenants == {"acme": Tenant(weight=2.5, max_queued=7)}
    assert config.scheduler.quantum == Config().scheduler.quantum


def test_later_sources_win(write):
    """The file, then the environment, then the caller."""
    path = write("[scheduler]\nworkers = 1\nquantum = 5_000\ninstances = 10\n")
    environ = {"WASMQ_SCHEDULER__WORKERS": "2", "WASMQ_SCHEDULER__QUANTUM": "6000", "HOME": "/"}
    config = load_config(path, environ=environ, overrides={"scheduler.workers": 3, "scheduler.store": None})
    scheduler = config.scheduler
    assert (scheduler.workers, scheduler.quantum, scheduler.instances) == (3, 6_000, 10)


def test_variables_are_read_as_their_key_wants_them():
    """Text from the environment becomes the number, size or word that its key takes, however deep it lies."""
    config = load_config(
        environ={
            "WASMQ_LIMITS__MAX__MEMORY": "2GiB",
            "WASMQ_LIMITS__TIMEOUT": "2.5",
            "WASMQ_MODULES__DIRECTORY": "/var/cache/wasmq",
            "WASMQ_TENANTS__ACME__WEIGHT": "4",
        }
    )
    assert config.limits.max.memory == 2**31
    assert config.limits.timeout == 2.5
    assert config.modules.directory == "/var/cache/wasmq"
    assert config.tenants == {"acme": Tenant(weight=4.0)}


def test_variables_that_are_no_keys_are_left_alone():
    """What the command line and the tests use has the prefix too, but sets nothing."""
    environ = {"WASMQ_CONFIG": "x", "WASMQ_URL": "x", "WASMQ_TOKEN": "x", "WASMQ_TEST_POSTGRES": "x", "WASM": "x"}
    assert load_config(environ=environ) == Config()


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("worker = 1", "worker"),
        ("[scheduler]\nworker = 1", "scheduler.worker"),
        ("[limits.max]\nfule = 1", "limits.max.fule"),
        ("[tenants.acme]\nwait = 1", "wait"),
    ],
)
def test_an_unknown_key_is_named(write, text, key):
    """A misspelt key is an error, never silently without effect."""
    path = write(text)
    assert "unknown key" in fails(key, source=path, path=path)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("[scheduler]\nworkers = 0", "scheduler.workers"),
        ("[scheduler]\nworkers = 'many'", "scheduler.workers"),
        ("[scheduler]\nengine = 'fast'", "scheduler.engine"),
        ("[scheduler]\nquantum = 999", "scheduler.quantum"),
        ("[scheduler]\nmax_attempts = 0", "scheduler.max_attempts"),
        ("[scheduler]\ngrace = -1", "scheduler.grace"),
        ("[scheduler]\nstuck_after = 0", "scheduler.stuck_after"),
        ("[scheduler]\ninstances = 20_000", "scheduler.instances"),
        ("[limits]\nfuel = 0", "limits.fuel"),
        ("[limits]\nmemory = '0'", "limits.memory"),
        ("[limits]\nmemory = -1", "limits.memory"),
        ("[limits]\nmemory = 'lots'", "limits.memory"),
        ("[limits]\nmemory = true", "limits.memory"),
        ("[limits]\noutput = '9000000 GiB GiB'", "limits.output"),
        ("[limits]\ntimeout = inf", "limits.timeout"),
        ("[limits]\ntimeout = nan", "limits.timeout"),
        ("[limits]\nfuel = 2_000_000_000_000", "limits.fuel is above limits.max.fuel"),
        ("[limits.max]\nmemory = '5GiB'", "limits.max.memory"),
        ("[limits.max]\ntimeout = 1", "limits.timeout is above limits.max.timeout"),
        ("[store]\nhistory = -1", "store.history"),
        ("[server]\nport = 65536", "server.port"),
        ("[logs]\nlevel = 'loud'", "logs.level"),
        ("[tenants.acme]\nweight = 0", "weight"),
        ("scheduler = 1", "scheduler"),
    ],
    ids=lambda text: text.replace("\n", " "),
)
def test_an_impossible_value_is_named(write, text, key):
    """The message has the file and the key."""
    path = write(text)
    fails(key, source=path, path=path)


def test_a_wrong_variable_is_named():
    """The message begins with the variable, for that is what has to be changed."""
    fails("scheduler.workers", source="WASMQ_SCHEDULER__WORKERS", environ={"WASMQ_SCHEDULER__WORKERS": "none"})
    fails("scheduler.worker", source="WASMQ_SCHEDULER__WORKER", environ={"WASMQ_SCHEDULER__WORKER": "1"})
    fails("WASMQ_SECTION__KEY", source="WASMQ_WORKERS", environ={"WASMQ_WORKERS": "1"})


def test_a_wrong_argument_is_named():
    """What the caller passed is called an argument."""
    fails("scheduler.workers", source="argument", overrides={"scheduler.workers": 0})
    with pytest.raises(ConfigError, match=r"^argument: scheduler\.engine"):
        configured(Config(), {"scheduler.engine": "fast"})


def test_a_value_is_no_section():
    """A dotted key that leads through a value says so."""
    with pytest.raises(ConfigError, match=r"^scheduler\.workers\.more: workers is not a section$"):
        load_config(environ={}, overrides={"scheduler.workers": 1, "scheduler.workers.more": 1})


def test_a_file_that_cannot_be_read_is_named(tmp_path, write):
    """Missing, a directory, not TOML, not text: one line each, with the path."""
    missing = tmp_path / "missing.toml"
    assert "No such file" in fails("cannot be read", source=missing, path=missing)
    fails("cannot be read", source=tmp_path, path=tmp_path)
    broken = write("[scheduler\n")
    fails("not TOML", source=broken, path=broken)
    broken.write_bytes(b"\xff\xfe")
    fails("not TOML", source=broken, path=broken)


def test_overriding_keeps_the_rest():
    """One key changes; sizes, tenants and paths come through unchanged, and the original is what it was."""
    config = Config(modules=ModulesConfig(directory="/x", max_size=Size(5)), tenants={"acme": Tenant(weight=2.0)})
    changed = configured(config, {"scheduler.workers": 2, "scheduler.engine": None})
    assert changed == msgspec.structs.replace(config, scheduler=msgspec.structs.replace(config.scheduler, workers=2))
    assert type(changed.modules.max_size) is Size
    assert config.scheduler.workers is None
    assert configured(config, {}) == config
