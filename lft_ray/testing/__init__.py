"""The contracts of the plug-in points as pytest classes: subclass one, say what is yours, and pytest runs its checks.

Importing this needs pytest; nothing else in lft_ray imports it. The built-in plug-ins pass the same classes::

    from lft_ray.testing.tasks import TaskContract
    from my_package.stars import Stars

    class TestStars(TaskContract):
        @pytest.fixture
        def task_class(self):
            return Stars
"""

import pytest

# Before the modules are imported: a failed assertion in them then shows its values, as in a test file.
pytest.register_assert_rewrite(
    *(f"{__name__}.{name}" for name in ("engines", "models", "policies", "samplers", "stop_rules", "tasks"))
)

__all__: list[str] = []
