"""Another configuration for a scheduler that runs: what changes, and what is said to need a restart."""

import msgspec
import pytest
from watching import ENDLESS, running

import wasmq
from wasmq.config import Config, LimitsConfig, LogsConfig, SchedulerConfig, StoreConfig, Tenant, load_config
from wasmq.reload import differences, reloaded

GUEST = '(module (func (export "f")) (func (export "spin") (loop $again (br $again))))'


def given(**keys):
    """A configuration with these keys set, "__" for the dot."""
    return load_config(environ={}, overrides={name.replace("__", "."): value for name, value in keys.items()})


def test_the_same_configuration_changes_nothing():
    """Nothing changed, nothing to restart for."""
    assert reloaded(Config(), given()) == (Config(), (), ())


def test_what_can_change_does_and_the_rest_is_named():
    """Each by its dotted key; what cannot change keeps its value."""
    wanted = given(
        tenants__acme__weight=2.0,
        limits__fuel=7,
        limits__max__timeout=60.0,
        logs__level="debug",
        store__history=3,
        store__history_age=4.0,
        store__lease=5.0,
        scheduler__grace=6.0,
        scheduler__max_queued=8,
        scheduler__workers=9,
        prices__call=10,
        server__port=11,
    )
    config, changed, restart = reloaded(Config(), wanted)
    assert set(changed) == {
        *("limits.fuel", "limits.max.timeout", "logs.level", "scheduler.grace", "scheduler.max_queued"),
        *("store.history", "store.history_age"),
        *("tenants", *[f"tenants.acme.{name}" for name in Tenant.__struct_encode_fields__]),
    }
    assert restart == ("prices.call", "scheduler.workers", "server.port", "store.lease")
    assert config == Config(
        scheduler=SchedulerConfig(grace=6.0, max_queued=8),
        limits=wanted.limits,
        store=StoreConfig(history=3, history_age=4.0),
        tenants={"acme": Tenant(weight=2.0)},
        logs=LogsConfig(level="debug"),
    )


def test_a_token_needs_a_restart():
    """The listening side keeps the tokens that it was started with, and the scheduler says so."""
    token = "sha256:" + "0" * 64
    config, changed, restart = reloaded(
        Config(tenants={"acme": Tenant()}), Config(tenants={"acme": Tenant(weight=2.0, tokens=(token,))})
    )
    assert config.tenants == {"acme": Tenant(weight=2.0)}
    assert (changed, restart) == (("tenants.acme.weight",), ("tenants.acme.tokens",))


def test_a_key_with_a_default_of_none_is_a_difference_when_it_is_set():
    """In both directions."""
    assert differences(given(), given(scheduler__workers=1)) == ("scheduler.workers",)
    assert differences(given(modules__directory="/a"), given()) == ("modules.directory",)


@pytest.mark.parametrize("store", ["memory://", "sqlite:///{}/jobs.db"])
async def test_a_running_scheduler_takes_over(make_scheduler, config, store, tmp_path):
    """Tenants, limits, the bound of the queue and the history are other ones for the next job; jobs go on."""
    start = msgspec.structs.replace(config, tenants={"old": Tenant(grant=("env.f",)), "kept": Tenant(weight=3.0)})
    async with running(make_scheduler, config=start, grace=0.0, store=store.format(tmp_path)) as scheduler:
        module = await scheduler.load(GUEST)
        spinning = await scheduler.submit(module, "spin", limits=ENDLESS)
        for number in range(3):
            await scheduler.run(module, "f", key=f"k{number}")
        await scheduler.set_tenant("kept", Tenant(weight=4.0))
        await scheduler.set_tenant("added", Tenant(weight=5.0))
        wanted = msgspec.structs.replace(
            scheduler.config,
            tenants={"new": Tenant(weight=2.0), "kept": Tenant(weight=3.0)},
            limits=LimitsConfig(fuel=1_234_567),
            store=StoreConfig(history=1),
            scheduler=msgspec.structs.replace(scheduler.config.scheduler, max_queued=2, quantum=5_000),
        )
        news = await scheduler.reload(wanted)
        assert news.restart == ("scheduler.quantum",)
        assert (await scheduler.reload(wanted)).changed == ()
        assert scheduler.tenants() == {
            "new": Tenant(weight=2.0),
            "kept": Tenant(weight=4.0),
            "added": Tenant(weight=5.0),
        }
        job = await scheduler.submit(module, "f")
        await job
        assert (await scheduler.job(job.id)).job.caps.fuel == 1_234_567
        assert len(await scheduler.jobs(status="finished")) == 1
        requests = [wasmq.Request(module=module.digest, export="f")] * 3
        with pytest.raises(wasmq.QueueFull, match="a queue of 2"):
            await scheduler.submit_many(requests)
        assert spinning.outcome is None
