import json

import pytest

from lft_ray.tasks.questions.truth import locate, truth_array

CONTEXT = "Bern is in Bern, said Bern."


@pytest.mark.parametrize(
    ("answer", "start", "was_moved"),
    [
        (("Bern", 11), 11, False),
        (("Bern", None), 0, False),
        (("Bern", 12), 11, True),
        (("Bern", 20), 22, True),
        (("Bern", -5), 0, True),
        (("Bern", 10_000), 22, True),
        (("Basel", 3), -1, False),
        (("", 3), -1, False),
    ],
)
def test_an_answer_is_found_where_it_is_said_to_be_or_nearest_to_it(answer, start, was_moved):
    found = locate(CONTEXT, answer)
    assert (found.start, found.was_moved) == (start, was_moved)
    assert start < 0 or CONTEXT[start:].startswith(answer[0])


def test_truth_survives_json_and_names_what_is_not_there():
    [true] = truth_array(["Where?"], [CONTEXT], [[("Bern", None), ("Basel", None)]])
    assert json.loads(json.dumps(true)) == {
        "question": "Where?",
        "context": CONTEXT,
        "answers": ["Bern", "Basel"],
        "starts": [0, -1],
    }
