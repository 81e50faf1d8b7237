"""Which tenant has loaded which modules: what it may call and look at over HTTP. The tenant "" stands for everybody."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence

    from wasmq.store.sqlite.operations import NoteLoaded

EVERYBODY: Final = ""
"""The tenant in whose name a module is noted that everybody has: no tenant can be called so."""

_NOTE: Final = (
    "INSERT INTO loaded (tenant, digest, noted_at) VALUES (?, ?, ?) "
    "ON CONFLICT (tenant, digest) DO UPDATE SET noted_at = max(noted_at, excluded.noted_at)"
)
_FORGET: Final = (
    "DELETE FROM loaded WHERE tenant = ?1 AND digest IN ("
    "SELECT digest FROM loaded WHERE tenant = ?1 AND digest <> ?2 ORDER BY noted_at DESC LIMIT -1 OFFSET ?3)"
)


class Loaded:
    """The notes of a store in memory."""

    def __init__(self) -> None:
        self._digests: dict[str, OrderedDict[str, None]] = {}

    def note(self, tenant: str, digest: str, most: int) -> None:
        """See `Store.note_loaded`."""
        digests = self._digests.setdefault(tenant, OrderedDict())
        digests[digest] = None
        digests.move_to_end(digest)
        while len(digests) > most:
            digests.popitem(last=False)

    def of(self, tenant: str, digests: Iterable[str]) -> set[str]:
        """See `Store.loaded`."""
        own, all_ = self._digests.get(tenant, ()), self._digests.get(EVERYBODY, ())
        return {digest for digest in digests if digest in own or digest in all_}


def write_loaded(connection: sqlite3.Connection, notes: Iterable[NoteLoaded]) -> None:
    """Note modules in a SQLite file, and forget the oldest of each tenant's that are too many."""
    for note in notes:
        connection.execute(_NOTE, (note.tenant, note.digest, note.now))
        connection.execute(_FORGET, (note.tenant, note.digest, note.most - 1))


def read_loaded(connection: sqlite3.Connection, tenant: str, digests: Sequence[str]) -> set[str]:
    """Return which of some modules a SQLite file says that a tenant has, or everybody."""
    query = "SELECT 1 FROM loaded WHERE tenant IN (?, ?) AND digest = ?"
    return {each for each in digests if connection.execute(query, (tenant, EVERYBODY, each)).fetchone()}
