import pytest

from lft_ray.serve.protocols.forms import FORMS, PAIRS, QUESTIONS, TEXTS, form_of
from lft_ray.serve.protocols.hf import _READERS
from lft_ray.serve.protocols.kserve import INPUTS
from tests.serve.conftest import make_predictor, make_question_predictor

INFO = make_predictor().info


@pytest.mark.parametrize(
    ("answers", "segments", "form"),
    [("labels", 1, TEXTS), ("labels", 2, PAIRS), ("spans", 2, QUESTIONS), ("labels", 3, TEXTS)],
)
def test_the_form_follows_from_what_predictions_consist_of(answers, segments, form):
    assert form_of(INFO.model_copy(update={"answers": answers, "segments": segments})) is form


def test_a_predictor_takes_it_from_its_task():
    assert form_of(INFO) is TEXTS
    assert form_of(make_question_predictor().info) is QUESTIONS


def test_every_form_is_in_every_table_and_names_its_parts():
    keys = {form.key for form in FORMS.values()}
    assert set(_READERS) == set(INPUTS) == keys
    for (_, segments), form in FORMS.items():
        assert len(form.parts) == len(INPUTS[form.key]) == segments
