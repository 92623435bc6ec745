"""What the tests of this room share."""

from live_store import live_database, sqlite_copy, sqlite_template

__all__ = ["live_database", "sqlite_copy", "sqlite_template"]
