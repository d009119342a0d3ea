import numpy as np
import pytest

from lft_ray.errors import BundleError
from lft_ray.models.floors import FLOORS, floor_model
from lft_ray.models.overlap import OverlapModel
from lft_ray.models.tokens import Truncated, Unread
from lft_ray.tasks.questions.layout import WIDTH, candidates_of
from lft_ray.tasks.questions.task import Questions
from tests.tasks.questions.corpus import rows


def data(count, **options):
    made = rows(count, **options)
    values = {
        "question": [row["question"] for row in made],
        "context": [row["context"] for row in made],
        "answers": [[(a["text"], a["answer_start"]) for a in row["answers"]] for row in made],
    }
    task = Questions.of(Questions.learn(values))
    return task, list(zip(values["question"], values["context"], strict=True)), task.encode(values)


def test_it_finds_what_is_asked_for():
    task, texts, truth = data(200)
    model = OverlapModel.fit(texts, truth, task, 0, max_length=500)
    assert task.metrics(truth, model.logits(texts))["f1"] > 0.8
    other = [("Which river is deep?", "The Elbe is deep. " + text[1]) for text in texts[:5]]
    assert [a[0].answer for a in task.predictions(model.logits(other), other)] == ["Elbe"] * 5


def test_it_learns_when_there_is_no_answer():
    task, texts, truth = data(200, without_answer=4)
    model = OverlapModel.fit(texts, truth, task, 0, max_length=500)
    answers = task.answers(model.logits(texts))
    assert (answers[::4, 0] == -1).mean() > 0.8
    assert (answers[1::4, 0] >= 0).mean() > 0.8


def test_it_is_the_same_after_saving(tmp_path):
    task, texts, truth = data(80)
    model = OverlapModel.fit(texts, truth, task, 0, max_length=500)
    model.save(tmp_path / "m")
    again = OverlapModel.load(tmp_path / "m")
    assert np.array_equal(again.logits(texts), model.logits(texts))
    (tmp_path / "m" / "terms.json").write_text('{"idf": []}')
    with pytest.raises(BundleError, match="shared words"):
        OverlapModel.load(tmp_path / "m")


def test_only_so_many_words_are_read():
    model = OverlapModel({}, 4, -1e30, 10)
    [whole, cut, nothing] = model.encode([("who", "a b c"), ("who", "word " * 20), ("who", "...")])
    assert (len(whole), isinstance(whole, Truncated)) == (3, False)
    assert (len(cut), isinstance(cut, Truncated)) == (10, True)
    assert isinstance(nothing, Unread)
    assert model.with_max_length(20).max_length == 20


def test_odd_inputs_have_rows_all_the_same():
    model = OverlapModel({}, 4, -1e30, 100)
    found = model.logits([("", ""), ("who?", "\0\ud83d"), "only a text", ("?!", "a. b! c"), ("the", "the the the")])
    assert found.shape == (5, WIDTH)
    assert np.isfinite(found).all()
    assert (candidates_of(found)[0, :, 0] == -1).all()


def test_every_floor_can_be_made():
    for family, floor in FLOORS.items():
        assert {"fit", "load", "encode", "run", "logits", "save", "with_max_length"} <= set(dir(floor_model(family)))
        assert floor.head in ("vector", "tokens")
