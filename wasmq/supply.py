"""Who satisfies a job's imports: the modules it is linked with, WASI, or nobody but perhaps a host function. Pure.

The names of a job's links are one flat namespace, seen by every module of the job. A name that is linked is satisfied
by its module alone, so that nothing else slips in where that one lacks something.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from wasmq.errors import InvalidArguments
from wasmq.matching import fits
from wasmq.types import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from wasmq.job import Program, Varies
    from wasmq.modules import Module
    from wasmq.types import ExternType, Import

MAX_LINKS: Final = 32
"""Names that one job may link."""
MAX_LINK_NAME: Final = 200
_KEPT: Final = 1_024

Source = Literal["link", "wasi", "host"]


class Supply(NamedTuple):
    """What became of one import: its `source`, or None and the `problem` with it.

    `part` and `position` say of a linked one which part of the job exports it, and at which place among its exports.
    """

    wanted: Import
    source: Source | None
    problem: str | None = None
    part: int = -1
    position: int = -1


class Part(NamedTuple):
    """One instance of a job: its module, the names by which others import from it, and what its imports get."""

    module: Module
    names: tuple[str, ...]
    supplies: tuple[Supply, ...]


class Arrangement(NamedTuple):
    """A job's instances in the order in which they are made: what an instance imports from comes before it.

    The last one is the job's own module. `missing` are the imports of all that are not satisfied.
    """

    parts: tuple[Part, ...]
    missing: tuple[tuple[Module, Supply], ...]


def check_link_count(link: Mapping[str, Any]) -> None:
    """Raise `InvalidArguments` when a job links more names than it may: before anything is looked up."""
    if len(link) > MAX_LINKS:
        raise InvalidArguments(f"link: {len(link)} names are above the limit of {MAX_LINKS}")


def check_links(link: Mapping[str, Any] | None, module: Callable[[str], Module]) -> tuple[tuple[str, Module], ...]:
    """Return the links of a job, sorted by name. Its values are modules or their digests.

    Raises `InvalidArguments`, or `UnknownModule` for a digest that is not loaded.
    """
    if not link:
        return ()
    if not isinstance(link, Mapping):
        raise InvalidArguments(f"link: wants a mapping of names to modules, got {type(link).__name__}")
    check_link_count(link)
    found = []
    for name, value in link.items():
        if not isinstance(name, str) or len(name) > MAX_LINK_NAME:
            raise InvalidArguments(f"link: a name is text of at most {MAX_LINK_NAME} characters, got {_shown(name)}")
        digest = value if isinstance(value, str) else getattr(value, "digest", None)
        if not isinstance(digest, str):
            raise InvalidArguments(f"link {printable(name, 60)!r}: wants a module or its digest, got {_shown(value)}")
        linked = module(digest)
        if linked.kind != "module":
            raise InvalidArguments(f"link {printable(name, 60)!r}: a {linked.kind} cannot be linked, only a module")
        found.append((name, linked))
    return tuple(sorted(found, key=lambda entry: entry[0]))


@lru_cache(maxsize=_KEPT)
def arrange(main: Module, links: tuple[tuple[str, Module], ...]) -> Arrangement:
    """Return a job's instances and what satisfies their imports.

    Each linked module is instantiated once, however many names it has, and also when nothing imports from it: it may be
    there for what it puts into another's memory or table. Raises `InvalidArguments` for a cycle.
    """
    named = dict(links)
    order = _order(main, named)
    offered = {module: (place, _positions(module)) for place, module in enumerate(order)}
    parts = []
    for module in order:
        names = tuple([name for name, linked in links if linked is module])
        parts.append(Part(module, names, _supplies(module, named, offered)))
    parts.append(Part(main, (), _supplies(main, named, offered)))
    missing = tuple([(part.module, supply) for part in parts for supply in part.supplies if supply.source is None])
    return Arrangement(tuple(parts), missing)


def supply(main: Module, links: tuple[tuple[str, Module], ...] = ()) -> tuple[Supply, ...]:
    """Return what satisfies each import of a job's own module, in their order."""
    return arrange(main, links).parts[-1].supplies


def varies(main: Module, links: tuple[tuple[str, Module], ...], program: Program | None) -> Varies | None:
    """Return what lets a call's answer differ from run to run, None when nothing does.

    All that it imports is satisfied; what neither a link nor WASI has is a host function.
    """
    if not links and not main.imports:
        return None
    sources = _sources(main, links)
    # Host calls can be recorded, time and chance cannot.
    if "wasi" in sources and (program is None or not program.deterministic):
        return "wasi"
    return "host" if None in sources else None


@lru_cache(maxsize=_KEPT)
def _sources(main: Module, links: tuple[tuple[str, Module], ...]) -> frozenset[Source | None]:
    return frozenset([supply.source for part in arrange(main, links).parts for supply in part.supplies])


def _positions(module: Module) -> dict[str, int]:
    return {extern.name: position for position, extern in enumerate(module.exports)}


def _supplies(
    module: Module, named: Mapping[str, Module], offered: Mapping[Module, tuple[int, Mapping[str, int]]]
) -> tuple[Supply, ...]:
    found = []
    for wanted, offer in zip(module.imports, module.offers, strict=True):
        mark = "#" if module.kind == "component" else "."
        name = f"{printable(wanted.module)}{mark}{printable(wanted.name)}".removeprefix("#")
        linked = named.get(wanted.module)
        if linked is not None:
            part, positions = offered[linked]
            found.append(_from_link(wanted, name, linked, part, positions.get(wanted.name)))
        elif offer is True or offer == wanted.type:
            found.append(Supply(wanted, "wasi"))
        elif offer is not None:
            found.append(Supply(wanted, None, _another_type(name, wanted.type, offer)))
        else:
            found.append(Supply(wanted, None, f"nobody offers the import {name} {wanted.type}"))
    return tuple(found)


def _from_link(wanted: Import, name: str, linked: Module, part: int, position: int | None) -> Supply:
    if position is None:
        where = f"the module {linked.digest[:12]} that is linked as {printable(wanted.module, 60)!r}"
        return Supply(wanted, None, f"{where} does not export the import {name} {wanted.type}")
    offer = linked.exports[position].type
    if not fits(offer, wanted.type, grown=linked.start or linked.initialise >= 0):
        return Supply(wanted, None, _another_type(name, wanted.type, offer))
    return Supply(wanted, "link", None, part, position)


def _another_type(name: str, wanted: ExternType, offer: object) -> str:
    return f"the import {name} has another type: it wants {wanted}, there is {offer}"


def _order(main: Module, named: Mapping[str, Module]) -> list[Module]:
    """Return the linked modules, those that `main` needs first, each behind its own. Raises `InvalidArguments`."""
    done: list[Module] = []
    path: list[tuple[str, Module]] = []

    def visit(name: str, module: Module) -> None:
        if module in done:
            return
        names = [known for known, entered in path if entered is module]
        if names:
            ring = [known for known, _ in path]
            ring = [*ring[ring.index(names[0]) :], name]
            raise InvalidArguments(
                "link: a cycle, " + " imports from ".join([repr(printable(each, 60)) for each in ring])
            )
        path.append((name, module))
        for wanted in _needs(module, named):
            visit(wanted, named[wanted])
        path.pop()
        done.append(module)

    for wanted in (*_needs(main, named), *named):
        visit(wanted, named[wanted])
    return done


def _needs(module: Module, named: Mapping[str, Module]) -> list[str]:
    return [name for name in dict.fromkeys([wanted.module for wanted in module.imports]) if name in named]


def _shown(value: Any) -> str:
    text = repr(value)
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(value).__name__})"
