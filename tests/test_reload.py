"""Another configuration for a scheduler that runs: what changes, and what is said to need a restart."""

import msgspec
import pytest
from msgspec.structs import replace
from watching import ENDLESS, running

import wasmq
from wasmq.config import (
    Config,
    LimitsConfig,
    LogsConfig,
    SchedulerConfig,
    ServerConfig,
    StoreConfig,
    Tenant,
    load_config,
)
from wasmq.errors import ConfigError
from wasmq.reload import differences, reloaded
from wasmq.tenants import Tenants

TOKEN = "sha256:" + "0" * 64
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


def test_tokens_and_roles_change():
    """What was given, replaced or taken away is so at once; nothing of it needs a restart."""
    token = "sha256:" + "0" * 64
    wanted = Config(tenants={"acme": Tenant(tokens=(token,), roles=("observe",))})
    for one, other in ((Config(tenants={"acme": Tenant()}), wanted), (wanted, Config(tenants={"acme": Tenant()}))):
        config, changed, restart = reloaded(one, other)
        assert config.tenants == other.tenants
        assert (changed, restart) == (("tenants.acme.roles", "tenants.acme.tokens"), ())


@pytest.mark.parametrize(
    ("running", "wanted", "words"),
    [
        (
            Config(server=ServerConfig(tokens_required=True), tenants={"acme": Tenant(tokens=(TOKEN,))}),
            Config(),
            r"server\.tokens_required is set, but no tenant has a token.* until a restart",
        ),
        (
            Config(),
            Config(scheduler=SchedulerConfig(classes={"express": 1e6}), tenants={"acme": Tenant(class_="express")}),
            r"tenants\.acme\.class: 'express' is none of scheduler\.classes.* until a restart",
        ),
    ],
)
def test_what_does_not_go_with_what_stays_is_refused(running, wanted, words):
    """Each of the two configurations is good, but not what they come to before a restart: one line says so."""
    with pytest.raises(ConfigError, match=words):
        reloaded(running, wanted)


SET = Tenant(weight=5.0, max_queued=7)


@pytest.mark.parametrize(
    ("before", "now", "left"),
    [
        (Tenant(weight=2.0), Tenant(weight=2.0, tokens=(TOKEN,)), replace(SET, tokens=(TOKEN,))),
        (Tenant(tokens=(TOKEN,)), Tenant(), SET),
        (Tenant(tokens=(TOKEN,)), None, SET),
        (None, Tenant(tokens=(TOKEN,), roles=("observe",)), replace(SET, tokens=(TOKEN,), roles=("observe",))),
        (Tenant(roles=("observe",)), Tenant(roles=("administer",)), replace(SET, roles=("administer",))),
        (Tenant(weight=2.0), Tenant(weight=3.0, tokens=(TOKEN,)), Tenant(weight=3.0, tokens=(TOKEN,))),
        (Tenant(weight=2.0), None, None),
    ],
)
def test_tokens_say_nothing_of_a_share(before, now, left):
    """A share that was set in the meantime stays when only tokens or roles change, and goes when the file says more."""
    tenants = Tenants({} if before is None else {"acme": before}, {})
    tenants.set("acme", replace(SET, tokens=before.tokens, roles=before.roles) if before else SET)
    changed = tenants.reload({"acme": before} if before else {}, {"acme": now} if now else {})
    assert tenants.all() == ({} if left is None else {"acme": left})
    assert changed == {"acme": left}


def test_who_was_not_set_follows_the_file():
    """Without anything that was set in the meantime a tenant is what the file says, and nobody when it says nothing."""
    token = Tenant(tokens=(TOKEN,))
    tenants = Tenants({"acme": token}, {})
    assert tenants.reload({"acme": token}, {}) == {"acme": None}
    assert tenants.all() == {}
    assert tenants.reload({}, {"acme": token}) == {"acme": token}


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
