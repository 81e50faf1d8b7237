"""`wasmq config`: what is shown can be loaded again."""

from __future__ import annotations

import tomllib

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from wasmq.cli.app import main
from wasmq.cli.config import to_toml
from wasmq.config import (
    Config,
    HostConfig,
    HostFunctionConfig,
    LimitCeilings,
    LimitsConfig,
    LogsConfig,
    ModulesConfig,
    SchedulerConfig,
    ServerConfig,
    Size,
    Tenant,
    load_config,
)

# TOML cannot hold half a surrogate pair.
texts = st.text(st.characters(exclude_categories=["Cs"]))
seconds = st.floats(min_value=0, max_value=366 * 86400, exclude_min=True)
limits = st.builds(
    lambda low, most, timeouts, fuel: LimitsConfig(
        fuel=min(fuel),
        memory=Size(min(low)),
        timeout=min(timeouts),
        output=Size(min(most)),
        files=Size(1),
        max=LimitCeilings(
            fuel=max(fuel), memory=Size(max(low)), timeout=max(timeouts), output=Size(max(most)), files=Size(2**20)
        ),
    ),
    st.tuples(st.integers(1, 2**32), st.integers(1, 2**32)),
    st.tuples(st.integers(1, 2**25), st.integers(1, 2**25)),
    st.tuples(seconds, seconds),
    st.tuples(st.integers(1, 2**63 - 1), st.integers(1, 2**63 - 1)),
)
tenants = st.dictionaries(
    texts,
    st.builds(
        Tenant,
        weight=st.floats(min_value=0, max_value=1e6, exclude_min=True),
        max_queued=st.none() | st.integers(1, 2**31 - 1),
        grant=st.lists(texts, max_size=3).map(tuple),
    ),
    max_size=4,
)
functions = st.dictionaries(
    texts,
    texts
    | st.builds(
        HostFunctionConfig,
        path=texts,
        price=st.none() | st.integers(0, 10**9),
        inline=st.booleans(),
        results=st.none() | st.lists(texts, max_size=2).map(tuple),
    ),
    max_size=3,
)
configs = st.builds(
    Config,
    scheduler=st.builds(
        SchedulerConfig,
        workers=st.none() | st.integers(1, 1024),
        store=texts,
        engine=st.sampled_from(["native", "interpreter"]),
        grace=st.floats(0, 86_400),
    ),
    limits=limits,
    server=st.builds(ServerConfig, host=texts, port=st.integers(0, 65_535), max_body=st.just(Size(1))),
    modules=st.builds(ModulesConfig, directory=st.none() | texts),
    tenants=tenants,
    host=st.builds(HostConfig, threads=st.integers(1, 1024), max_bytes=st.just(Size(1)), functions=functions),
    logs=st.builds(LogsConfig, level=st.sampled_from(["debug", "error"]), format=st.sampled_from(["auto", "json"])),
)


@given(configs)
def test_the_shown_configuration_is_the_one_in_force(tmp_path_factory, config):
    """TOML made from any configuration loads as an equal one, whatever characters its texts and names hold."""
    file = tmp_path_factory.mktemp("config") / "wasmq.toml"
    file.write_bytes(to_toml(config).encode())

    assert load_config(file, environ={}) == config


def test_a_tenant_without_settings_of_its_own_is_still_there():
    """A name alone is a setting: it survives."""
    config = Config(tenants={"a.b": Tenant(), "": Tenant(weight=2.0)})

    assert set(tomllib.loads(to_toml(config))["tenants"]) == {"a.b", ""}


def test_show_prints_every_section_with_file_and_environment_in_force(tmp_path, monkeypatch, capsys):
    """The file is read, a variable overrides it, and the result is printed as TOML and as the same JSON."""
    file = tmp_path / "wasmq.toml"
    file.write_text("[scheduler]\nworkers = 3\nquantum = 5000\n")
    monkeypatch.setenv("WASMQ_SCHEDULER__WORKERS", "7")

    assert main(["config", "--show", "--config", str(file)]) == 0
    shown = tomllib.loads(capsys.readouterr().out)
    assert main(["config", "--show", "--json", "--config", str(file)]) == 0
    as_json = msgspec.json.decode(capsys.readouterr().out)

    assert set(shown) == set(Config.__struct_fields__)
    assert shown["scheduler"] | {"workers": 7, "quantum": 5000} == shown["scheduler"]
    assert {key: value for key, value in as_json["scheduler"].items() if value is not None} == shown["scheduler"]


def test_the_variable_names_the_file(tmp_path, monkeypatch, capsys):
    """Without --config the file is the one in WASMQ_CONFIG."""
    file = tmp_path / "wasmq.toml"
    file.write_text("[server]\nport = 1234\n")
    monkeypatch.setenv("WASMQ_CONFIG", str(file))

    assert main(["config", "--show"]) == 0
    assert tomllib.loads(capsys.readouterr().out)["server"]["port"] == 1234


def test_a_wrong_key_is_a_usage_error_that_names_it(tmp_path, capsys):
    """A configuration that cannot take effect is exit status 2 and one line with the file and the key."""
    file = tmp_path / "wasmq.toml"
    file.write_text("[scheduler]\nwrokers = 3\n")

    assert main(["config", "--config", str(file)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == f"wasmq: {file}: unknown key 'scheduler.wrokers'\n"


def test_without_show_it_only_checks(tmp_path, capsys):
    """A configuration without faults is exit status 0."""
    file = tmp_path / "wasmq.toml"
    file.write_text("")

    assert main(["config", "--config", str(file)]) == 0
    assert capsys.readouterr().out == "the configuration is valid\n"
