"""Contracts of the plug-in points as pytest classes: subclass one, provide your plug-in as a fixture, and run pytest.

Importing this package requires pytest; nothing else in lft_ray imports it. The built-in plug-ins pass the same tests::

    from lft_ray.testing.tasks import TaskContract
    from my_package.stars import Stars

    class TestStars(TaskContract):
        @pytest.fixture
        def task_class(self):
            return Stars
"""

import pytest

# Must run before the modules are imported, so that failed assertions in them show their values as in a test file.
pytest.register_assert_rewrite(
    *(f"{__name__}.{name}" for name in ("engines", "models", "policies", "samplers", "stop_rules", "tasks"))
)

__all__: list[str] = []
