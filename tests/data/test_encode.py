"""Token files: built once, memory-mapped, cut on the way out."""

import multiprocessing
import pickle
import time
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from lft_ray.config import DataSpec, TaskSpec
from lft_ray.data.encode import TokenFile, encode_split
from lft_ray.data.prepare import prepare
from lft_ray.data.store import load_split
from lft_ray.errors import LftWarning, ModelError
from lft_ray.run.storage import Storage

CLS, SEP, UNK = 1, 2, 3


def tokenizer(folder: Path, template: str | None, extra: int = 0) -> Path:
    words = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "cat", "dog", "purrs", "barks", "loud", *map(str, range(200 + extra))]
    built = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    built.pre_tokenizer = pre_tokenizers.Whitespace()
    if template:
        built.post_processor = processors.TemplateProcessing(
            single=template, special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)]
        )
    folder.mkdir()
    built.save(str(folder / "tokenizer.json"))
    return folder


def test_ids_targets_and_rows(tmp_path, pets_record):
    folder = tokenizer(tmp_path / "bert", "[CLS] $A [SEP]")
    tokens = encode_split(pets_record, "train", folder, tmp_path / "tokens")
    split = load_split(pets_record, "train")
    library = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert (tokens.values.dtype, tokens.offsets.dtype, tokens.end_id) == (np.uint16, np.int64, SEP)
    assert len(tokens) == len(split)
    for ids, text in zip(tokens.gather(np.arange(len(split)), 8192), split.texts, strict=True):
        assert ids.tolist() == library.encode(text).ids
    assert np.array_equal(tokens.targets, split.targets)
    assert np.array_equal(tokens.row_ids, split.row_ids)


@pytest.mark.parametrize(
    ("template", "end_id", "cut"),
    [
        ("[CLS] $A [SEP]", SEP, [CLS, 4, 6, SEP]),
        ("[CLS] $A", None, [CLS, 4, 6, 8]),
        ("$A [SEP]", SEP, [4, 6, 8, SEP]),
        (None, None, [4, 6, 8, 8]),
    ],
)
def test_the_cut_keeps_the_end_token_if_there_is_one(tmp_path, pets_record, template, end_id, cut):
    tokens = encode_split(pets_record, "train", tokenizer(tmp_path / "t", template), tmp_path / "tokens")
    texts = load_split(pets_record, "train").texts
    row = next(i for i, text in enumerate(texts) if text.startswith("cat purrs loud loud"))
    assert tokens.end_id == end_id
    assert tokens.gather(np.array([row]), 4)[0].tolist() == cut
    assert tokens.lengths(4).max() == 4
    assert 0 < tokens.truncated_share(8) < 1


def test_large_vocabularies_take_four_bytes(tmp_path, pets_record):
    folder = tokenizer(tmp_path / "t", "[CLS] $A [SEP]", extra=70_000)
    assert encode_split(pets_record, "test", folder, tmp_path / "tokens").values.dtype == np.uint32


def test_built_once_and_again_when_damaged(tmp_path, pets_record):
    folder = tokenizer(tmp_path / "t", "[CLS] $A [SEP]")
    first = encode_split(pets_record, "train", folder, tmp_path / "tokens")
    built_at = first.path.stat().st_mtime_ns
    again = encode_split(pets_record, "train", folder, tmp_path / "tokens")
    assert again.path.stat().st_mtime_ns == built_at
    assert first.path.name.startswith(pets_record.fingerprint[:12])
    whole = first.path.read_bytes()
    first.path.write_bytes(whole[:100])
    with pytest.warns(LftWarning, match="was changed after it was written, and is made again"):
        assert len(encode_split(pets_record, "train", folder, tmp_path / "tokens")) == len(first)
    assert not list((tmp_path / "tokens").glob(".*"))


def test_pickles_as_its_path(tmp_path, pets_record):
    tokens = encode_split(pets_record, "train", tokenizer(tmp_path / "t", None), tmp_path / "tokens")
    packed = pickle.dumps(tokens)
    assert len(packed) < 500
    assert np.array_equal(pickle.loads(packed).values, tokens.values)


def test_a_multilabel_split(tmp_path, write_csv):
    rows = [(f"cat {i}", ("a", "b", "a,b")[i % 3]) for i in range(99)]
    spec = DataSpec(train=write_csv("m.csv", rows))
    record = prepare(TaskSpec(kind="multilabel"), spec, Storage(tmp_path / "run"))
    tokens = encode_split(record, "train", tokenizer(tmp_path / "t", None), tmp_path / "tokens")
    assert np.array_equal(tokens.targets, load_split(record, "train").targets)


def test_a_text_without_tokens_becomes_one_token(tmp_path, write_csv):
    rows = [(f"cat {i}", "ab"[i % 2]) for i in range(98)] + [("\u200b\u200c", "a"), ("\u200d", "b")]
    record = prepare(TaskSpec(), DataSpec(train=write_csv("m.csv", rows)), Storage(tmp_path / "run"))
    folder = tmp_path / "t"
    tokenizer(folder, None)
    library = Tokenizer.from_file(str(folder / "tokenizer.json"))
    from tokenizers import normalizers

    library.normalizer = normalizers.Sequence([normalizers.Replace(mark, "") for mark in "\u200b\u200c\u200d"])
    library.save(str(folder / "tokenizer.json"))
    for name in record.splits:
        assert encode_split(record, name, folder, tmp_path / "tokens").lengths(8).min() >= 1


def test_no_tokenizer(tmp_path, pets_record):
    with pytest.raises(ModelError, match="no tokenizer"):
        encode_split(pets_record, "train", tmp_path / "none", tmp_path / "tokens")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match="cannot read"):
        encode_split(pets_record, "train", tmp_path / "bad", tmp_path / "tokens")


def build_in_process(record, folder, target, queue):
    tokens = encode_split(record, "train", folder, target)
    queue.put((len(tokens), tokens.path.stat().st_ino))


def test_concurrent_processes_build_once(tmp_path, pets_record):
    folder = tokenizer(tmp_path / "t", "[CLS] $A [SEP]")
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    workers = [
        context.Process(target=build_in_process, args=(pets_record, folder, tmp_path / "tokens", queue))
        for _ in range(3)
    ]
    for worker in workers:
        worker.start()
    answers = [queue.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join(timeout=30)
    # One build is one file: a second one would have replaced it under another inode.
    assert len(set(answers)) == 1
    assert answers[0][0] == 160


@pytest.mark.real_data
@pytest.mark.parametrize(("name", "end_id"), [("bert-base-uncased", 102), ("gpt2", None)])
def test_real_tokenizers(shared_dir, tmp_path, name, end_id):
    spec = DataSpec(train=str(shared_dir / "data" / "sst2" / "train.parquet"), max_rows=2000)
    record = prepare(TaskSpec(), spec, Storage(tmp_path / "run"))
    started = time.process_time()
    tokens = encode_split(record, "train", shared_dir / "weights" / "tokenizers" / name, tmp_path / "tokens")
    assert isinstance(tokens, TokenFile)
    assert (tokens.end_id, tokens.values.dtype) == (end_id, np.uint16)
    assert len(tokens) / (time.process_time() - started) > 500


# ---------------------------------------------------------------- pairs of texts


@pytest.fixture
def pair_tokens(tmp_path, tiny_bert):
    rows = [(f"cat number {n} " + "purrs " * (n % 9), "dog barks " * (1 + n % 4), "yn"[n % 2]) for n in range(60)]
    lines = ["text_a,text_b,label", *(",".join(row) for row in rows)]
    (tmp_path / "pairs.csv").write_text("\n".join(lines))
    spec = DataSpec(train=str(tmp_path / "pairs.csv"))
    record = prepare(TaskSpec(kind="pairs"), spec, Storage(tmp_path / "run"))
    return encode_split(record, "train", tiny_bert, tmp_path / "tokens"), load_split(record, "train").texts


@pytest.mark.parametrize("max_length", [8, 14, 64])
def test_pairs_are_encoded_and_cut_as_a_replica_encodes_them(pair_tokens, tiny_bert, max_length):
    from lft_ray.models.tokens import TextTokenizer

    tokens, texts = pair_tokens
    found = tokens.gather(np.arange(len(texts)), max_length)
    served = TextTokenizer(tiny_bert).encode(texts, max_length)
    assert [list(pair) for pair in found] == [list(pair) for pair in served]
    assert [list(pair.types) for pair in found] == [list(pair.types) for pair in served]
    assert max(map(len, found)) <= max_length
    assert tokens.lengths(max_length).tolist() == [len(pair) for pair in found]


def test_tensors_of_pairs_hold_the_number_of_each_tokens_text(pair_tokens):
    tokens, _ = pair_tokens
    rows = np.array([3, 8, 12])
    ids, mask = tokens.tensors(rows, 64, 0)
    assert ids.shape == (*mask.shape, 2)
    for row, pair in enumerate(tokens.gather(rows, 64)):
        length = len(pair)
        assert ids[row, :length, 0].tolist() == list(pair)
        assert ids[row, :length, 1].tolist() == list(pair.types)
        assert not ids[row, length:].any()


def test_pairs_keep_their_template_where_tokens_are_renumbered_or_sent(pair_tokens):
    from lft_ray.data.encode import RenumberedTokens

    tokens, _ = pair_tokens
    numbers = np.arange(tokens.values.max() + 1, dtype=np.uint32)[::-1].copy()
    renumbered = RenumberedTokens(tokens.path, numbers)
    for other in (renumbered, pickle.loads(pickle.dumps(renumbered))):
        for one, two in zip(tokens.gather(np.arange(9), 10), other.gather(np.arange(9), 10), strict=True):
            assert [int(numbers[token]) for token in one] == list(two)
            assert one.types == two.types


def test_single_texts_have_no_first_part(tmp_path, pets_record):
    tokens = encode_split(pets_record, "train", tokenizer(tmp_path / "t", "[CLS] $A [SEP]"), tmp_path / "tokens")
    assert tokens.first is None
    assert tokens.tensors(np.arange(2), 64, 0)[0].ndim == 2
