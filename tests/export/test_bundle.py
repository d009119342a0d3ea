"""Bundles: exported, opened, smoke-tested, and refused when anything differs from the manifest."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from lft_ray.config import ModelSpec
from lft_ray.engines.base import EngineCard
from lft_ray.engines.batching import run_sorted
from lft_ray.errors import BundleError
from lft_ray.export.bundle import ExportPlan, export_bundle, open_bundle, write_manifest
from lft_ray.export.card import CardFacts
from lft_ray.models.network import build, save
from lft_ray.models.resolve import find_base
from lft_ray.models.sizes import model_sizes
from lft_ray.models.tfidf import TfidfModel
from lft_ray.run.storage import Storage
from lft_ray.tasks.classification import Classification

LABELS = ["book", "money", "sport"]
ENGINE = {"fp32": "onnxruntime", "int8": "onnxruntime", "bf16": "torch"}
SAMPLES = ["the team won the match", "stocks fell again", "a warm and funny book", "x"]


@pytest.fixture(scope="module")
def checkpoint(tiny_bert, tmp_path_factory) -> Path:
    """A saved network of 3 outputs whose head separates the labels clearly."""
    spec = ModelSpec(base=str(tiny_bert))
    (size,) = model_sizes([spec])
    network = build(find_base(spec), size, 3)
    network.head.weight.data *= 40
    folder = tmp_path_factory.mktemp("checkpoint")
    card = EngineCard(engine="torch", model_size="tiny:2", outputs=3, max_length=16, pooling=size.pooling)
    save(network, folder, tokenizer_from=tiny_bert, card=card)
    return folder


@pytest.fixture(scope="module")
def linear(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("linear")
    task = Classification(LABELS)
    TfidfModel.fit([*SAMPLES[:3]] * 10, np.array([2, 1, 0] * 10), task, 0).save(folder)
    return folder


def plan(**changes) -> ExportPlan:
    facts = {"precision": "fp32", "task_kind": "classification", "labels": LABELS, "samples": SAMPLES}
    return ExportPlan(**(facts | {"card": CardFacts(name="news")} | changes))


@pytest.fixture
def bundle(checkpoint, tmp_path) -> Path:
    return Path(export_bundle(checkpoint, plan(), Storage(tmp_path), "bundle").uri)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_a_network_is_exported_opened_and_predicts(checkpoint, tmp_path, precision):
    made = export_bundle(checkpoint, plan(precision=precision), Storage(tmp_path), "bundle")
    opened = open_bundle(tmp_path / "bundle")
    assert opened.bundle == made
    assert made.uri == str(tmp_path / "bundle")
    assert (made.precision, made.engine, made.labels, made.max_length) == (precision, ENGINE[precision], LABELS, 16)
    assert made.bytes == sum(path.stat().st_size for path in (tmp_path / "bundle").iterdir())
    runner = opened.open_runner()
    opened.verify_smoke(runner)
    predictions = opened.task().decode(opened.task().probabilities(runner.run(runner.encode(["the team"]))))
    assert {score.label for score in predictions[0]} == set(LABELS)


def test_a_bundle_may_read_fewer_tokens_than_were_trained(checkpoint, tmp_path):
    made = export_bundle(checkpoint, plan(max_length=8), Storage(tmp_path), "short")
    opened = open_bundle(tmp_path / "short")
    assert (made.max_length, opened.spec.max_length, opened.open_runner().max_length) == (8, 8, 8)
    assert EngineCard.read(tmp_path / "short").max_length == 8
    assert "| Maximum length, tokens | 8 |" in (tmp_path / "short" / "MODEL_CARD.md").read_text()
    opened.verify_smoke(opened.open_runner())
    assert EngineCard.read(checkpoint).max_length == 16
    whole = export_bundle(checkpoint, plan(), Storage(tmp_path), "whole")
    assert whole.version != made.version
    assert export_bundle(checkpoint, plan(max_length=16), Storage(tmp_path), "same").version == whole.version
    long = ["the team won the match after a late goal in the second half of the cup"]
    short, full = (run_sorted(open_bundle(tmp_path / name).open_runner(), long) for name in ("short", "whole"))
    assert np.abs(short - full).max() > 1e-3


def test_a_linear_model_is_exported_alike(linear, tmp_path):
    export_bundle(linear, plan(), Storage(tmp_path), "bundle")
    opened = open_bundle(tmp_path / "bundle")
    opened.verify_smoke(opened.open_runner())
    assert opened.bundle.engine == "sklearn"


def test_the_same_checkpoint_gives_the_same_version(checkpoint, tmp_path):
    versions = {export_bundle(checkpoint, plan(), Storage(tmp_path), name).version for name in ("a", "b")}
    other = export_bundle(checkpoint, plan(labels=["a", "b", "c"]), Storage(tmp_path), "c").version
    assert len(versions) == 1
    assert other not in versions


def test_a_bundle_may_be_moved(bundle, tmp_path):
    moved = Path(shutil.move(bundle, tmp_path / "elsewhere"))
    opened = open_bundle(moved)
    opened.verify_smoke(opened.open_runner())


def test_a_bundle_is_found_through_storage(bundle, tmp_path):
    assert open_bundle(Storage(tmp_path).local_folder("bundle")).folder == bundle


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": ["a", "b"]}, "has 3 outputs, the task"),
        ({"precision": "int3"}, "unknown precision"),
        ({"samples": []}, "1 to 64 sample texts"),
        ({"max_length": 17}, "reads at most 16 tokens per text, got max_length 17"),
    ],
)
def test_a_plan_that_does_not_fit_is_refused(checkpoint, tmp_path, changes, message):
    with pytest.raises(BundleError, match=message):
        export_bundle(checkpoint, plan(**changes), Storage(tmp_path), "bundle")
    assert not (tmp_path / "bundle").exists()


def test_a_checkpoint_that_returns_nan_is_not_exported(checkpoint, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(checkpoint, tmp_path / "nan"))
    state = load_file(folder / "model.safetensors")
    state["head.bias"][0] = float("nan")
    save_file(state, folder / "model.safetensors")
    with pytest.raises(BundleError, match="not finite"):
        export_bundle(folder, plan(), Storage(tmp_path), "bundle")


def replace_smoke(folder: Path, change) -> None:
    content = json.loads((folder / "smoke.json").read_text())
    change(content)
    (folder / "smoke.json").write_text(json.dumps(content))
    (folder / "manifest.json").unlink()
    write_manifest(folder)


def test_other_logits_than_at_export_are_refused(bundle):
    replace_smoke(bundle, lambda smoke: smoke["logits"].reverse())
    opened = open_bundle(bundle)
    with pytest.raises(BundleError, match="a score is off by"):
        opened.verify_smoke(opened.open_runner())


class Bad:
    """A runner that returns fixed logits."""

    max_length = 16

    def __init__(self, logits) -> None:
        self.logits = logits

    def encode(self, texts):
        return list(texts)

    def run(self, batch):
        return np.stack([self.logits for _ in batch]).astype(np.float32)


@pytest.mark.parametrize(
    ("logits", "message"), [([np.nan, 0, 0], "not finite"), ([0, 0], "expected"), ([9, 0, 0], "off by")]
)
def test_verify_smoke_names_bad_logits(bundle, logits, message):
    with pytest.raises(BundleError, match=message):
        open_bundle(bundle).verify_smoke(Bad(np.array(logits)))


def flip_a_byte(folder: Path) -> None:
    payload = bytearray((folder / "model.onnx").read_bytes())
    payload[-1] ^= 1
    (folder / "model.onnx").write_bytes(payload)


def edit_labels(folder: Path) -> None:
    path = folder / "predictor.json"
    path.write_text(path.read_text().replace("money", "honey"))


def add_a_file(folder: Path) -> None:
    (folder / "extra.json").write_text("{}")


def remove_a_file(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def add_a_link(folder: Path) -> None:
    (folder / "link.json").symlink_to("/etc/hostname")


def replace_by_a_link(folder: Path) -> None:
    shutil.move(folder / "engine.json", folder.parent / "engine.json")
    (folder / "engine.json").symlink_to(folder.parent / "engine.json")


def add_a_linked_folder(folder: Path) -> None:
    (folder / "sub").symlink_to("/etc", target_is_directory=True)


def add_a_pipe(folder: Path) -> None:
    os.mkfifo(folder / "pipe.json")


def change_format(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"format": 1', '"format": 2'))


def drop_the_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()


def break_the_manifest(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(path.read_text()[:-20])


def name_a_file_outside(folder: Path) -> None:
    (folder.parent / "outside.json").write_text("{}")
    rename_in_manifest(folder, "../outside.json")


def name_an_absolute_file(folder: Path) -> None:
    rename_in_manifest(folder, "/etc/hostname")


def rename_in_manifest(folder: Path, name: str) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][name] = manifest["files"].pop("engine.json")
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (flip_a_byte, "model.onnx was changed"),
        (edit_labels, "predictor.json was changed"),
        (add_a_file, r"extra \['extra.json'\]"),
        (remove_a_file, r"missing \['tokenizer.json'\]"),
        (add_a_link, "a link or a special file: link.json"),
        (replace_by_a_link, "a link or a special file: engine.json"),
        (add_a_linked_folder, "a link or a special file: sub"),
        (add_a_pipe, "a link or a special file: pipe.json"),
        (change_format, "of format 2; this version reads 1"),
        (drop_the_manifest, "is not a bundle"),
        (break_the_manifest, "is not JSON"),
        (name_a_file_outside, "lists a file outside its folder"),
        (name_an_absolute_file, "lists a file outside its folder"),
    ],
)
def test_a_changed_bundle_is_refused(bundle, damage, message):
    damage(bundle)
    with pytest.raises(BundleError, match=message):
        open_bundle(bundle)


def test_every_byte_of_every_file_is_verified(bundle):
    for path in [path for path in bundle.iterdir() if path.name != "manifest.json"]:
        whole = path.read_bytes()
        path.write_bytes(whole[:-1])
        with pytest.raises(BundleError, match=f"{path.name} was changed"):
            open_bundle(bundle)
        path.write_bytes(whole)
    open_bundle(bundle)


@pytest.mark.parametrize("name", ["weights.bin", "model.pt", "model.PKL", "run.py"])
def test_files_that_could_run_code_are_neither_sealed_nor_opened(checkpoint, tmp_path, name):
    folder = Path(shutil.copytree(checkpoint, tmp_path / "c"))
    (folder / name).write_bytes(b"x")
    with pytest.raises(BundleError, match="can run code when opened"):
        export_bundle(folder, plan(precision="bf16"), Storage(tmp_path), "bundle")
    # What onnxruntime opens is written anew: nothing else of the checkpoint comes with it.
    export_bundle(folder, plan(), Storage(tmp_path), "bundle")
    assert not (tmp_path / "bundle" / name).exists()
    (tmp_path / "bundle" / name).write_bytes(b"x")
    with pytest.raises(BundleError, match="can run code when opened"):
        write_manifest(tmp_path / "bundle")


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("predictor.json", {"max_length": 17}),
        ("predictor.json", {"precision": "int3"}),
        ("predictor.json", {"precision": "int8"}),
        ("predictor.json", {"unknown": 1}),
        ("smoke.json", {"texts": []}),
    ],
)
def test_parts_that_do_not_fit_each_other_are_refused(bundle, file, change):
    content = json.loads((bundle / file).read_text()) | change
    (bundle / file).write_text(json.dumps(content))
    (bundle / "manifest.json").unlink()
    write_manifest(bundle)
    with pytest.raises(BundleError):
        open_bundle(bundle)


def test_a_bundle_of_an_earlier_version_still_opens(checkpoint, tmp_path):
    export_bundle(checkpoint, plan(engine="torch"), Storage(tmp_path), "bundle")
    folder = tmp_path / "bundle"
    card = json.loads((folder / "engine.json").read_text())
    kept = ("engine", "model_size", "outputs", "max_length", "pooling")
    (folder / "engine.json").write_text(json.dumps({key: card[key] for key in kept}))
    (folder / "manifest.json").unlink()
    write_manifest(folder)
    opened = open_bundle(folder)
    assert (opened.bundle.engine, opened.bundle.precision, opened.bundle.note) == ("torch", "fp32", "")
    opened.verify_smoke(opened.open_runner())
