"""Profiles of an earlier session are used, unless they do not price what may be trained now."""

from lft_ray.candidates import Candidates
from lft_ray.config import Experiment, ServeSpec
from lft_ray.models.words import MAX_WORDS
from lft_ray.profile.measure import is_current
from tests.chaos.search import book

EXPERIMENT = Experiment.model_validate({"name": "a", "data": {"train": "a.csv"}, "models": [{"base": "tfidf"}]})


def told(length: int) -> tuple[bool, list[str]]:
    kept = book(["tfidf"])
    kept = kept.replace(profiles=[kept.profiles[0].replace(max_length=length)])
    said: list[str] = []
    return is_current(kept, ServeSpec(), Candidates.of(EXPERIMENT), keeps=True, log=said.append), said


def test_profiles_of_all_sizes_are_kept():
    assert told(MAX_WORDS)[0]


def test_a_size_that_an_earlier_version_served_otherwise_is_measured_again():
    """Version 0.1.0 cut TF-IDF at the length of networks."""
    is_kept, said = told(128)
    assert not is_kept
    assert "tfidf" in said[0]
