"""Windows of questions: stored tokens, targets, and inputs of the training loop."""

import json
from pathlib import Path

import numpy as np
import pytest

from lft_ray.config import DataSpec, TaskSpec
from lft_ray.data.batches import Pieces
from lft_ray.data.prepare import prepare
from lft_ray.data.windows import encode_questions
from lft_ray.errors import LftWarning, ModelError
from lft_ray.models.passages import PassageTokenizer
from lft_ray.models.tokens import open_tokenizer
from lft_ray.run.storage import Storage
from lft_ray.tasks.questions.layout import WIDTH, candidates_of
from lft_ray.tasks.questions.task import NO_TARGET
from tests.tasks.questions.corpus import rows


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    folder = tmp_path_factory.mktemp("questions")
    made = rows(90, without_answer=9)
    for number in range(0, 90, 10):
        made[number]["context"] = "Many other things are told before. " * 9 + made[number]["context"]
        for answer in made[number]["answers"]:
            answer["answer_start"] = made[number]["context"].index(answer["text"])
    made[5]["answers"] = [{"text": "not there"}]
    (folder / "train.jsonl").write_text("\n".join(map(json.dumps, made)))
    return prepare(
        TaskSpec(kind="question_answering"), DataSpec(train=str(folder / "train.jsonl")), Storage(str(folder / "run"))
    )


@pytest.fixture
def tokens(record, tiny_bert, tmp_path):
    return encode_questions(record, "train", tiny_bert, tmp_path / "tokens")


def test_windows_are_those_that_a_replica_reads(record, tokens, tiny_bert):
    reader = PassageTokenizer(open_tokenizer(tiny_bert))
    windows = tokens.at(40)
    texts = [(true["question"], true["context"]) for true in tokens.truth]
    expected = reader.passages(texts, 40)
    assert [list(passage) for passage in windows.encoded(40)] == [list(passage) for passage in expected]
    assert len(windows) == sum(len(passage.windows) for passage in expected) > len(tokens)
    assert isinstance(windows, Pieces)


def test_targets_are_the_answer_in_its_own_words(tokens):
    windows, found = tokens.at(40), 0
    window_of = [(row, window) for row, passage in enumerate(windows.passages) for window in passage.windows]
    for (row, window), (start, end) in zip(window_of, windows.targets.tolist(), strict=True):
        true = windows.truth[row]
        if not true["answers"]:
            assert (start, end) == (0, 0)
        elif true["starts"] == [-1]:
            assert (start, end) == (NO_TARGET, NO_TARGET)
        elif start:
            part, found = window.part, found + 1
            a, b = part.starts[start - part.first], part.ends[end - part.first]
            assert true["context"][a:b] == true["answers"][0]
    assert found >= sum(bool(true["answers"]) for true in windows.truth) - 1


def test_tensors_have_ids_segments_and_a_mask(tokens):
    windows = tokens.at(40)
    lengths = windows.lengths(40)
    ids, mask = windows.tensors(np.array([0, 3]), 40, 0)
    assert (ids.shape, mask.shape) == ((2, max(lengths[[0, 3]]), 2), (2, max(lengths[[0, 3]])))
    assert mask.sum(1).tolist() == lengths[[0, 3]].tolist()
    assert ids[0, : lengths[0], 1].tolist() == windows.passages[0].windows[0].types
    with pytest.raises(ValueError, match="max_length 40"):
        windows.lengths(50)


def test_summaries_of_windows_merge_to_rows(tokens):
    windows, rng = tokens.at(40), np.random.default_rng(0)
    longest = int(windows.lengths(40).max())
    logits = rng.normal(size=(len(windows), longest, 2)).astype(np.float32)
    summaries = windows.summary(np.arange(len(windows)), logits)
    merged = windows.merged(summaries)
    assert (summaries.shape, merged.shape) == ((len(windows), WIDTH), (len(tokens), WIDTH))
    first = [len(passage.windows) for passage in windows.passages]
    best = np.maximum.reduceat(candidates_of(summaries)[:, 0, 2], np.cumsum([0, *first[:-1]]))
    assert candidates_of(merged)[:, 0, 2] == pytest.approx(best)


def test_renumbered_windows_differ_in_their_ids_alone(tokens):
    windows = tokens.at(40)
    numbers = np.arange(100_000, dtype=np.uint32)[::-1]
    other = windows.renumbered(numbers)
    assert np.array_equal(other.values, numbers[windows.values])
    assert np.array_equal(other.targets, windows.targets)
    assert other.lengths(40).tolist() == windows.lengths(40).tolist()
    ids, mask = (one.numpy() for one in other.tensors(np.arange(3), 40, 0))
    plain, _ = windows.tensors(np.arange(3), 40, 0)
    assert (ids[..., 0][mask == 1] == numbers[plain.numpy()[..., 0][mask == 1]]).all()
    assert np.array_equal(other.at(24).values, numbers[tokens.at(24).values])
    assert np.array_equal(other.renumbered(numbers[:100_000]).at(24).values, tokens.at(24).values)


def test_the_file_is_written_once_and_again_where_it_is_damaged(record, tokens, tiny_bert):
    before = tokens.path.read_bytes()
    expected = tokens.at(40).values
    again = encode_questions(record, "train", tiny_bert, tokens.path.parent)
    assert np.array_equal(again.at(40).values, expected)
    for damage in (b"", before[: len(before) // 2], before[:-9] + b"damage..."):
        # Another file under the same name: a map of one that is cut in place would end the process.
        tokens.path.unlink()
        tokens.path.write_bytes(damage)
        with pytest.warns(LftWarning, match="made again"):
            mended = encode_questions(record, "train", tiny_bert, tokens.path.parent)
        assert np.array_equal(mended.at(40).values, expected)


def test_another_length_has_other_windows(tokens):
    windows = tokens.at(40)
    assert windows.at(40) is windows
    assert len(windows.at(24)) > len(windows)
    assert windows.at(24).row_ids.tolist() == windows.row_ids.tolist()


def test_without_a_tokenizer_there_are_no_windows(record, tmp_path: Path):
    with pytest.raises(ModelError, match="no tokenizer"):
        encode_questions(record, "train", tmp_path / "none", tmp_path / "tokens")
