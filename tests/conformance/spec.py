"""Runs the specification's test-suite through the public API: load, link, submit.

A file of the suite is what `wast2json` or `wasm-tools json-from-wast` makes of it: commands as JSON, modules beside it.

The suite calls an instance again and again; a job has a fresh one. Nearly all assertions hold for a fresh one as well.
One that does not is run a second time with all that happened before it: a module of our own is linked with those under
test and repeats, in one job, each earlier call and then the one in question. So no assertion is let off because it
leans on state, but for the few that cannot be repeated: a call that trapped and left something behind, or a module that
came into being only after another one had been called.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from spec_values import NotOffered, agrees, argument, constant

import wasmq
from wasmq.types import FunctionType, GlobalType

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

Verdict = Literal["passed", "repeated", "stateful", "not offered", "failed"]

LIMITS = wasmq.Limits(fuel=2_000_000_000, memory="1GiB")
SPECTEST = """
(module
  (global (export "global_i32") i32 (i32.const 666))
  (global (export "global_i64") i64 (i64.const 666))
  (global (export "global_f32") f32 (f32.const 666.6))
  (global (export "global_f64") f64 (f64.const 666.6))
  (table (export "table") 10 20 funcref)
  (table (export "table64") i64 10 20 funcref)
  (memory (export "memory") 1 2)
  (func (export "print"))
  (func (export "print_i32") (param i32))
  (func (export "print_i64") (param i64))
  (func (export "print_f32") (param f32))
  (func (export "print_f64") (param f64))
  (func (export "print_i32_f32") (param i32 f32))
  (func (export "print_f64_f64") (param f64 f64)))
"""
# The suite's words for a trap, as far as they begin so, and our codes for it.
CODES = {
    "unreachable": {"unreachable"},
    "integer divide by zero": {"integer_divide_by_zero"},
    "integer overflow": {"integer_overflow"},
    "invalid conversion to integer": {"invalid_conversion_to_integer"},
    "out of bounds memory access": {"memory_out_of_bounds"},
    "out of bounds table access": {"table_out_of_bounds"},
    "undefined": {"table_out_of_bounds"},
    "uninitialized": {"indirect_call_to_null"},
    "indirect call": {"indirect_call_type_mismatch"},
    "out of bounds array access": {"array_out_of_bounds"},
    "null": {"null_reference"},
    "cast failure": {"cast_failure"},
    "call stack exhausted": {"stack_overflow"},
    "unaligned atomic": {"unaligned_atomic"},
    # As it was put before bulk memory, and by toolchains in their own copies.
    "out of bounds": {"memory_out_of_bounds", "table_out_of_bounds"},
    "elements segment does not fit": {"table_out_of_bounds"},
    "data segment does not fit": {"memory_out_of_bounds"},
    "callee type mismatch": {"indirect_call_type_mismatch"},
}
# What was invalid before a proposal that is part of the specification now.
SUPERSEDED = frozenset(
    ("multiple memories", "multiple tables", "invalid result arity", "zero flag expected", "multiple return values")
)
# Words by which the engine refuses what we do not offer.
NOT_OFFERED = (
    "threads and shared memory",
    "stack switching",
    "legacy_exceptions",
    "custom page sizes",
    "custom-page-sizes",
)


@dataclass
class Result:
    """What became of one command."""

    line: int
    kind: str
    verdict: Verdict
    detail: str = ""


@dataclass(eq=False)
class Instance:
    """An instance of the suite: a module, the instances it imports from by name, and its place in time."""

    module: wasmq.Module
    imports: dict[str, Instance]
    born: int

    def closure(self) -> list[Instance]:
        """The instance and all it reaches, each behind those it imports from."""
        found: list[Instance] = []

        def visit(instance: Instance) -> None:
            if instance not in found:
                for other in instance.imports.values():
                    visit(other)
                found.append(instance)

        visit(self)
        return found


@dataclass
class Event:
    """A call that was made: on what, and whether it came back."""

    time: int
    instance: Instance
    action: dict[str, Any]
    kept: bool = True


@dataclass
class Check:
    """An assertion about a call, and what a fresh instance said."""

    event: Event
    command: dict[str, Any]
    outcome: Any = None
    result: Result | None = None


@dataclass
class Script:
    """One file of the suite while it runs."""

    path: Path
    scheduler: wasmq.Scheduler
    spectest: Instance
    instances: list[Instance] = field(default_factory=list)
    named: dict[str, Instance] = field(default_factory=dict)
    registered: dict[str, Instance] = field(default_factory=dict)
    definitions: dict[str | None, wasmq.Module] = field(default_factory=dict)
    current: Instance | None = None
    events: list[Event] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)
    failed_at: list[int] = field(default_factory=list)
    late: set[Instance] = field(default_factory=set)
    time: int = 0

    async def run(self) -> list[Result]:
        """Run all commands and return what became of each."""
        self.registered["spectest"] = self.spectest
        for command in json.loads(self.path.read_text())["commands"]:
            self.time += 1
            try:
                await self._command(command)
            except NotOffered as reason:
                self._note(command, "not offered", str(reason))
        await self._settle()
        return self.results

    def _note(self, command: dict[str, Any], verdict: Verdict, detail: str = "") -> Result:
        result = Result(command["line"], command["type"], verdict, detail)
        self.results.append(result)
        return result

    async def _command(self, command: dict[str, Any]) -> None:
        match command["type"]:
            case "module":
                self.current = None
                await self._module(command, await self._load(command))
            case "module_definition":
                self.definitions[command.get("name")] = await self._load(command)
            case "module_instance":
                self.current = None
                definition = self.definitions.get(command.get("module"))
                if definition is None:
                    raise NotOffered("an instance of a module that is not there")
                await self._module({**command, "name": command.get("instance")}, definition)
            case "register":
                self.registered[command["as"]] = self._instance(command.get("name"))
            case "assert_invalid" | "assert_malformed" | "assert_invalid_custom" | "assert_malformed_custom":
                await self._refused(command)
            case "assert_unlinkable" | "assert_uninstantiable":
                await self._not_instantiated(command)
            case "assert_return" | "assert_trap" | "assert_exhaustion" | "assert_exception" | "action":
                await self._call(command)
            case kind:
                raise NotOffered(f"the command {kind}")

    async def _load(self, command: dict[str, Any]) -> wasmq.Module:
        data = (self.path.parent / command["filename"]).read_bytes()
        try:
            return await self.scheduler.load(data)
        except wasmq.InvalidModule as error:
            if any(words in str(error) for words in NOT_OFFERED):
                raise NotOffered(str(error)) from None
            self._note(command, "failed", f"a valid module was refused: {error}")
            raise NotOffered("the module could not be loaded") from None

    async def _module(self, command: dict[str, Any], module: wasmq.Module) -> None:
        """Make an instance, and see by a job that it can be made."""
        instance = Instance(module, self._imports(module), self.time)
        self.instances.append(instance)
        self.current = instance
        if command.get("name"):
            self.named[command["name"]] = instance
        outcome, error = await self._instantiate(instance)
        if error is None and outcome.status == "succeeded":
            self._note(command, "passed")
            return
        # What it imports from may have been changed by calls that no job of its own has seen.
        called = {event.instance for event in self.events}
        late = not called.isdisjoint(instance.closure())
        self._note(command, "stateful" if late else "failed", f"cannot be instantiated: {error or outcome.error}")
        if late:
            self.late.add(instance)

    async def _refused(self, command: dict[str, Any]) -> None:
        data = (self.path.parent / command["filename"]).read_bytes()
        try:
            await self.scheduler.load(data)
        except wasmq.InvalidModule:
            self._note(command, "passed")
            return
        if command["text"] in SUPERSEDED:
            self._note(command, "not offered", f"superseded: {command['text']}")
        else:
            self._note(command, "failed", f"was accepted, though: {command['text']}")

    async def _not_instantiated(self, command: dict[str, Any]) -> None:
        module = await self._load(command)
        self.failed_at.append(self.time)
        outcome, error = await self._instantiate(Instance(module, self._imports(module), self.time))
        if command["type"] == "assert_unlinkable":
            is_right = isinstance(error, wasmq.UnsatisfiedImport) or (
                error is None
                and outcome.trap is not None
                and (outcome.trap.code == "instantiation" or _trapped_as(outcome, command["text"]))
            )
        else:
            is_right = error is None and _trapped_as(outcome, command["text"])
        if is_right:
            self._note(command, "passed")
        else:
            self._note(command, "failed", f"wanted {command['text']!r}, got {error or outcome}")

    async def _instantiate(self, instance: Instance) -> tuple[Any, wasmq.WasmqError | None]:
        """Run a job that does no more than to bring an instance into being."""
        links = self._links(instance)
        links["the module in question"] = instance.module.digest
        driver = await self.scheduler.load(b'(module (func (export "nothing")))')
        try:
            handle = await self.scheduler.submit(driver, "nothing", link=links, limits=LIMITS)
            return await handle, None
        except (wasmq.UnsatisfiedImport, wasmq.InvalidArguments) as error:
            return None, error

    def _imports(self, module: wasmq.Module) -> dict[str, Instance]:
        names = dict.fromkeys([wanted.module for wanted in module.imports])
        return {name: self.registered[name] for name in names if name in self.registered}

    @staticmethod
    def _links(*instances: Instance) -> dict[str, str]:
        """One flat namespace for what all of these import. Raises `NotOffered` where there is none."""
        found: dict[str, Instance] = {}
        alike: dict[str, Instance] = {}
        for instance in instances:
            for part in instance.closure():
                is_linked = part is not instance or len(instances) > 1
                if is_linked and alike.setdefault(part.module.digest, part) is not part:
                    raise NotOffered("two instances of one module in one job")
                for name, other in part.imports.items():
                    if found.setdefault(name, other) is not other:
                        raise NotOffered(f"two modules under the name {name!r} in one job")
        return {name: other.module.digest for name, other in found.items()}

    def _instance(self, name: str | None) -> Instance:
        found = self.named.get(name) if name else self.current
        if found is None:
            raise NotOffered("the module could not be loaded")
        return found

    async def _call(self, command: dict[str, Any]) -> None:
        """Make a call on a fresh instance; what it says is looked at in the end."""
        action = command["action"]
        instance = self._instance(action.get("module"))
        event = Event(self.time, instance, action)
        self.events.append(event)
        check = Check(event, command)
        if command["type"] in ("assert_trap", "assert_exhaustion", "assert_exception"):
            event.kept = False
        try:
            if action["type"] == "invoke":
                check.outcome = await self.scheduler.submit(
                    instance.module,
                    action["field"],
                    *[argument(arg) for arg in action["args"]],
                    link=self._links(instance),
                    limits=LIMITS,
                )
            check.result = self._note(command, "failed", "")
        except NotOffered:
            event.kept = False
            raise
        except wasmq.UnknownExport as error:
            if "references" in str(error):
                event.kept = False
                raise NotOffered(str(error)) from None
            check.result = self._note(command, "failed", str(error))
            return
        except wasmq.Refused as error:
            event.kept = False
            check.result = self._note(command, "stateful" if instance in self.late else "failed", str(error))
            return
        self.checks.append(check)

    async def _settle(self) -> None:
        """Look at all outcomes, and repeat with their history those that are not as they should be."""
        again: list[Check] = []
        for check in self.checks:
            assert check.result is not None
            try:
                if check.outcome is not None and self._holds(check, await check.outcome):
                    check.result.verdict = "passed"
                    continue
            except NotOffered as reason:
                check.result.verdict, check.result.detail = "not offered", str(reason)
                continue
            again.append(check)
        for group in self._groups(again):
            await self._repeat(group)

    def _holds(self, check: Check, outcome: wasmq.Outcome) -> bool:
        """Whether an outcome is what an assertion wants; if not, its result says why."""
        assert check.result is not None
        command = check.command
        check.result.detail = f"got {outcome.status} {outcome.values} {outcome.error or ''}"
        match command["type"]:
            case "assert_return":
                expected = command["expected"]
                return (
                    outcome.status == "succeeded"
                    and len(expected) == len(outcome.values)
                    and all(agrees(wanted, came) for wanted, came in zip(expected, outcome.values, strict=True))
                )
            case "assert_trap" | "assert_exhaustion":
                return _trapped_as(outcome, command["text"])
            case "assert_exception":
                return outcome.trap is not None and outcome.trap.code == "uncaught_exception"
            case _:
                return outcome.status == "succeeded"

    @staticmethod
    def _groups(checks: Iterable[Check]) -> list[list[Check]]:
        groups: dict[int, list[Check]] = {}
        for check in checks:
            groups.setdefault(id(check.event.instance), []).append(check)
        return list(groups.values())

    async def _repeat(self, checks: list[Check]) -> None:
        """Run assertions about one instance again, each after all that happened before to it and its like."""
        subject = checks[0].event.instance
        last = max(check.event.time for check in checks)
        around = self._around(subject, last)
        history = [event for event in self.events if event.instance in around and event.time <= last]
        driver = Driver(around, {instance: number for number, instance in enumerate(self.instances)})
        try:
            links = self._links(*around)
            text = driver.text(history, checks)
            module = await self.scheduler.load(text.encode())
        except (NotOffered, wasmq.InvalidModule) as error:
            for check in checks:
                self._give_up(check, around, str(error))
            return
        links |= driver.links()
        handles = [
            await self.scheduler.submit(module, f"check {place}", link=links, limits=LIMITS)
            for place in range(len(checks))
        ]
        for check, handle in zip(checks, handles, strict=True):
            assert check.result is not None
            if self._holds(check, await handle):
                check.result.verdict = "repeated"
            else:
                self._give_up(check, around, check.result.detail)

    def _around(self, subject: Instance, last: int) -> list[Instance]:
        """The instances that share something with `subject`, as they were made."""
        around = set(subject.closure()) - {self.spectest}
        while True:
            more = {
                instance
                for instance in self.instances
                if instance.born <= last and not around.isdisjoint(instance.closure())
            }
            for instance in list(more):
                more |= set(instance.closure()) - {self.spectest}
            if more <= around:
                return sorted(around, key=lambda instance: instance.born)
            around |= more

    def _give_up(self, check: Check, around: list[Instance], detail: str) -> None:
        """Say of an assertion that does not hold whether something could not be repeated that happened before it."""
        assert check.result is not None
        before = check.event.time
        lost = any(event.instance in around and not event.kept and event.time < before for event in self.events)
        first = min((event.time for event in self.events if event.instance in around), default=before)
        late = any(first < instance.born < before for instance in around) or any(at < before for at in self.failed_at)
        check.result.verdict = "stateful" if lost or late else "failed"
        check.result.detail = detail


class Driver:
    """Writes the module that repeats calls."""

    BLOCK = 64

    def __init__(self, around: list[Instance], numbers: dict[Instance, int]) -> None:
        self._around = around
        self._numbers = numbers
        self._imports: dict[tuple[str, str], tuple[str, str]] = {}

    def links(self) -> dict[str, str]:
        """The names by which the driver imports."""
        return {f"instance {self._numbers[instance]}": instance.module.digest for instance in self._around}

    def text(self, history: list[Event], checks: list[Check]) -> str:
        """The driver's text: a function for every 64 calls, each after those before; and one for each assertion."""
        steps = [(event, self._step(event)) for event in history if event.kept]
        blocks = [steps[at : at + self.BLOCK] for at in range(0, len(steps), self.BLOCK)]
        body = []
        for number, block in enumerate(blocks):
            before = f"call $block{number - 1} " if number else ""
            body.append(f"(func $block{number} {before}{' '.join([code for _, code in block])})")
        for place, check in enumerate(checks):
            earlier = [(event, code) for event, code in steps if event.time < check.event.time]
            full = len(earlier) // self.BLOCK
            code = f"call $block{full - 1} " if full else ""
            code += " ".join([each for _, each in earlier[full * self.BLOCK :]])
            call, results = self._call(check.event)
            result = f"(result {' '.join(results)})" if results else ""
            body.append(f'(func (export "check {place}") {result} {code} {call})')
        # Modules come into being in the order in which they are imported from.
        first = [f"(import {_quoted(of)} {_quoted(what)} {text})" for (of, what), (_, text) in self._imports.items()]
        return "(module\n" + "\n".join([*first, *body]) + ")"

    def _step(self, event: Event) -> str:
        try:
            call, results = self._call(event)
        except NotOffered:
            event.kept = False
            return ""
        return call + " drop" * len(results)

    def _call(self, event: Event) -> tuple[str, tuple[str, ...]]:
        name, action = f"instance {self._numbers[event.instance]}", event.action
        of = next(extern.type for extern in event.instance.module.exports if extern.name == action["field"])
        if isinstance(of, GlobalType):
            type_ = f"(mut {of.value})" if of.mutable else of.value
            place = self._place(name, action["field"], "global", type_)
            return f"global.get {place}", (of.value,)
        assert isinstance(of, FunctionType)
        if any(value.endswith(")") and value[-2].isdigit() for value in (*of.params, *of.results)):
            raise NotOffered("a type of the module's own in a signature")
        params = f"(param {' '.join(of.params)})" if of.params else ""
        results = f"(result {' '.join(of.results)})" if of.results else ""
        place = self._place(name, action["field"], "func", f"{params} {results}")
        return " ".join([*[constant(arg) for arg in action["args"]], f"call {place}"]), of.results

    def _place(self, module: str, name: str, kind: str, type_: str) -> str:
        key = (module, name)
        if key not in self._imports:
            place = f"${kind}{len(self._imports)}"
            self._imports[key] = (place, f"({kind} {place} {type_})")
        return self._imports[key][0]


def _quoted(name: str) -> str:
    return '"' + "".join([f"\\{byte:02x}" for byte in name.encode()]) + '"'


def _trapped_as(outcome: wasmq.Outcome, text: str) -> bool:
    if outcome.trap is None:
        return False
    wanted = next((codes for words, codes in CODES.items() if text.startswith(words)), set())
    return outcome.trap.code in wanted


async def run(paths: Iterable[Path], scheduler: wasmq.Scheduler) -> dict[str, list[Result]]:
    """Run files of the suite and return what became of each of their commands, by the file's name."""
    spectest = Instance(await scheduler.load(SPECTEST.encode()), {}, 0)
    found = {}
    for path in paths:
        found[path.stem] = await Script(path, scheduler, spectest).run()
    return found


def counts(results: dict[str, list[Result]]) -> Counter[str]:
    """How often each verdict came."""
    return Counter([result.verdict for each in results.values() for result in each])
