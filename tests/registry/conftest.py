"""What the tests of this room share: real databases."""

from live_store import database, sqlite_copy, sqlite_template

__all__ = ["database", "sqlite_copy", "sqlite_template"]
