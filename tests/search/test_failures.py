import pytest

from lft_ray.causes import EndCause
from lft_ray.records import TrialConfig, TrialRecord
from lft_ray.search.failures import mostly_failed


def ended(status: str, role: str = "search", cause: EndCause | None = None) -> TrialRecord:
    config = TrialConfig(model_size="tiny:1")
    return TrialRecord(trial_id="t000", attempt=1, config=config, status=status, role=role, cause=cause)


OOM, CONFIG = EndCause.OUT_OF_MEMORY, EndCause.CONFIGURATION


@pytest.mark.parametrize(
    ("records", "text"),
    [
        ([], ""),
        ([ended("done")], ""),
        ([ended("done"), ended("done"), ended("failed")], ""),
        # TF-IDF finished, and the only network did not.
        ([ended("done"), ended("failed", cause=OOM)], "1 of 2 trials failed (1 out of memory)"),
        (
            [ended("done"), *[ended("failed", cause=OOM)] * 2, ended("failed", cause=CONFIG)],
            "3 of 4 trials failed (2 out of memory, 1 configuration)",
        ),
        # Trials that a rule stopped say nothing about the machine.
        ([ended("done"), *[ended("stopped")] * 8, ended("failed")], "1 of 2 trials failed (1 of a cause not recorded)"),
        ([ended("done"), ended("failed", role="confirm"), ended("failed", role="confirm")], ""),
    ],
)
def test_a_search_of_which_half_the_trials_failed_says_so(records, text):
    assert mostly_failed(records) == text
