"""What every test may use.

In charge of naming the shared plugins and of one rule for hypothesis: no example has a deadline, because a loaded
machine is slow and not wrong. The plugins stand in `tests/plugins/`, which pytest puts on the import path
(`pythonpath` in pyproject.toml), so that a test may import from them too. Fixtures of one room stand in the
conftest.py of that room's folder.
"""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("restante", deadline=None)
settings.load_profile("restante")

pytest_plugins = ["caps_plugin", "component_plugin", "postgres_plugin", "store_plugin"]
