"""Jobs in a PostgreSQL database that any number of daemons share."""

from wasmq.store.postgres.store import PostgresStore

__all__ = ["PostgresStore"]
