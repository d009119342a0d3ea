"""What is resolved once: it survives the run folder, decides a resume, and nothing below the pipeline asks again."""

import ast

import pytest

from lft_ray.candidates import Candidates, TaskRecord
from lft_ray.config import CostSpec, Experiment, ModelSpec, TrainingSpec
from lft_ray.cost.prices import price_of
from lft_ray.data.prepare import prepare as read_data
from lft_ray.errors import ConfigError, ModelError
from lft_ray.models.words import MAX_WORDS
from lft_ray.pipeline import prepare
from lft_ray.records import Variant
from lft_ray.run.folder import RunFolder
from lft_ray.run.storage import Storage
from tests.test_architecture import PACKAGE, python_files
from tests.tiny_models import write_tiny_bert


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp("candidates")
    (folder / "tiny").mkdir()
    write_tiny_bert(folder / "tiny")
    lines = [f"the {word} number {n},{word}" for n in range(40) for word in ("goal", "bank", "rain")]
    (folder / "rows.csv").write_text("text,label\n" + "\n".join(lines) + "\n")
    return {
        "name": "run",
        "task": {"metric": "micro_f1"},
        "data": {"train": str(folder / "rows.csv")},
        "models": [{"base": "tfidf"}, {"base": str(folder / "tiny"), "layers": [1, 2]}],
        "training": {"max_length": 32},
        "export": {"precisions": ["fp32", "int8"], "max_lengths": [16, 8]},
    }


@pytest.fixture
def experiment(tree, tmp_path) -> Experiment:
    return Experiment.model_validate(tree | {"storage": str(tmp_path)})


def prepared(experiment: Experiment, *, resume: bool = False) -> Candidates:
    run = RunFolder.begin(experiment, resume=resume, replace=False)
    return prepare(run, experiment, lambda _: None).candidates


def test_names_become_values_and_survive_the_run_folder(experiment):
    found = prepared(experiment)
    base = experiment.models[1].base
    assert [size.name for size in found.sizes] == ["tfidf", f"{base}:1", f"{base}:2"]
    assert found.variants["tfidf"] == [Variant(precision="fp32", max_length=MAX_WORDS)]
    assert [(v.precision, v.max_length) for v in found.variants[f"{base}:1"]] == [
        (precision, length) for length in (32, 16, 8) for precision in ("fp32", "int8")
    ]
    assert (found.task.labels, found.task.outputs) == (["bank", "goal", "rain"], 3)
    assert (found.task.metric, found.task.can_distill) == ("micro_f1", True)
    assert found.task.make().labels == found.task.labels
    assert found.price == price_of(experiment.cost)
    assert found.revisions == {base: "local"}
    # "the goal number 12" is a handful of tokens: 16 cuts nothing.
    assert 4 < found.longest_tokens[base] < 16
    assert 16 not in {v.max_length for v in found.distinct_variants(found.size(f"{base}:2"))}
    assert Candidates.of_run(RunFolder(experiment.run_uri)) == found


def test_an_unknown_size_is_named_with_the_nearest(experiment):
    with pytest.raises(ModelError, match=r"unknown model size 'tfdf': .* Did you mean 'tfidf'"):
        Candidates.of(experiment).size("tfdf")


def test_a_resume_takes_what_the_run_began_with_at_the_price_of_today(experiment):
    began = prepared(experiment)
    dearer = experiment.replace(cost=experiment.cost.replace(usd_per_core_hour=1.0))
    again = prepared(dearer, resume=True)
    assert again.price == price_of(dearer.cost) != began.price
    assert again == began.replace(price=again.price) == Candidates.of_run(RunFolder(experiment.run_uri))


def test_a_resume_is_refused_where_a_name_means_something_else_today(experiment):
    base = experiment.models[1].base
    began = prepared(experiment)
    run = RunFolder(experiment.run_uri)
    sizes = [*began.sizes[:2], type(began.sizes[2])(**{**_fields(began.sizes[2]), "params": 7})]
    run.put("candidates.json", began.replace(sizes=sizes))
    with pytest.raises(ConfigError, match=rf"candidates\.json differs .* in model size {base}:2") as caught:
        prepared(experiment, resume=True)
    assert "another `name`" in caught.value.fix
    run.put("candidates.json", began.replace(precisions=["fp32"], max_lengths=[32]))
    with pytest.raises(ConfigError, match="in precisions, max_lengths"):
        prepared(experiment, resume=True)


def test_a_resume_keeps_the_length_that_its_linear_model_had(experiment):
    began = prepared(experiment)
    run = RunFolder(experiment.run_uri)
    older = began.replace(variants=began.variants | {"tfidf": [Variant(precision="fp32", max_length=32)]})
    run.put("candidates.json", older)
    assert prepared(experiment, resume=True).variants == older.variants
    shorter = {name: [v.replace(max_length=8) for v in found] for name, found in began.variants.items()}
    run.put("candidates.json", began.replace(variants=shorter))
    with pytest.raises(ConfigError, match="in variants"):
        prepared(experiment, resume=True)


def _fields(size) -> dict:
    return {name: getattr(size, name) for name in type(size).__dataclass_fields__}


def test_a_run_of_an_older_version_is_read_without_the_file(experiment):
    run = RunFolder.begin(experiment, resume=False, replace=False)
    run.put("dataset.json", read_data(experiment.task, experiment.data, Storage(experiment.run_uri)))
    found = Candidates.of_run(run)
    assert not run.storage.exists("candidates.json")
    assert found.task.outputs == 3
    assert found == Candidates.of(experiment, run.dataset())


def test_a_copy_with_a_misspelt_field_is_refused():
    variant = Variant(precision="fp32", max_length=32)
    assert variant.replace(max_length=16) == Variant(precision="fp32", max_length=16)
    with pytest.raises(TypeError, match=r"Variant has no field 'precison'\. Did you mean 'precision'"):
        variant.replace(precison="int8")
    with pytest.raises(TypeError, match="CostSpec has no field 'utilization'"):
        CostSpec().replace(utilization=0.5)


RESOLVING = {"model_sizes", "price_of", "find_size", "find_base", "variants_of"}
"""What turns a name of the experiment into a value."""
MAY_RESOLVE = {
    "candidates.py",
    # The workers' processes: a job, a footprint or a profile request has crossed to them, weights have not.
    "train/trial.py", "train/network.py", "train/distributed/sharded.py", "train/footprint.py", "profile/replica.py",
    # The contract of a base model, the checks of the data, and `lft init`: there is no run.
    "testing/models.py", "train/deep/features.py", "data/fit.py", "plan/suggest.py",
}  # fmt: skip
MAY_MAKE_A_TASK = {
    "candidates.py",
    # The data come before the candidates; a bundle holds its task; the others are workers' processes.
    "tasks/find.py", "data/prepare.py", "export/bundle.py", "train/trial.py", "profile/replica.py",
}  # fmt: skip
MAY_SEE_THE_EXPERIMENT = {
    "__init__.py", "pipeline.py", "candidates.py", "config/__init__.py", "config/former.py", "run/folder.py",
    "quickstart.py",
    # Whether the whole of it is what the run ended with.
    "run/finished.py",
}  # fmt: skip


def imported(path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}


@pytest.mark.parametrize("path", python_files(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_names_are_resolved_once(path):
    name = str(path.relative_to(PACKAGE))
    if name not in MAY_RESOLVE:
        assert not RESOLVING & imported(path), f"{name} resolves again what candidates.json holds"
    if name not in MAY_MAKE_A_TASK:
        assert not {"TASKS", "find_task"} & imported(path), f"{name} looks the task up again: use candidates.task"
    if name not in MAY_SEE_THE_EXPERIMENT and not name.startswith("cli/"):
        assert "Experiment" not in imported(path), f"{name} takes the whole experiment: hand down the part it reads"


# ---------------------------------------------------------------- tasks whose head reads tokens


def test_defaults_that_need_a_vector_of_each_text_fall_away():
    questions, labels = (TaskRecord.of(kind, None) for kind in ("question_answering", "classification"))
    assert (questions.head, questions.metric, questions.can_distill) == ("tokens", "f1", False)
    usable = questions.usable(TrainingSpec())
    assert (usable.method, usable.head_init) == (["full"], "random")
    assert labels.usable(TrainingSpec()) == TrainingSpec()


@pytest.mark.parametrize(
    "change",
    [
        {"method": ["linear_probe"]},
        {"method": ["full", "freeze"]},
        {"method": ["full", "distill"]},
        {"class_weights": "balanced"},
    ],
)
def test_what_was_asked_for_and_cannot_be_is_refused(change):
    with pytest.raises(ConfigError, match="question_answering"):
        TaskRecord.of("question_answering", None).usable(TrainingSpec(**change))


@pytest.mark.parametrize(("kind", "base"), [("question_answering", "tfidf"), ("classification", "overlap")])
def test_a_floor_of_another_task_is_refused(experiment, kind, base):
    other = experiment.replace(
        task=experiment.task.replace(kind=kind, text=None, label=None, metric=None), models=[ModelSpec(base=base)]
    )
    with pytest.raises(ConfigError, match=base):
        Candidates.of(other).check_floors()
