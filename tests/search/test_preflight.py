import pytest

from lft_ray.candidates import Candidates
from lft_ray.config import Experiment
from lft_ray.errors import ConfigError, ModelError
from lft_ray.search.preflight import check_distillation, check_experiment, check_methods, check_plugins
from lft_ray.tasks.classification import Classification

_MEMBERS = {name: value for name, value in vars(Classification).items() if name not in {"__dict__", "__weakref__"}}
NoDistillLoss = type(
    "NoDistillLoss", Classification.__bases__, {name: _MEMBERS[name] for name in _MEMBERS if name != "distill_loss"}
)
"""A task that cannot be distilled."""


class NoTask:
    """A class that has nothing of a task."""


def experiment(kind: str, method: list[str], **training) -> Experiment:
    return Experiment.model_validate(
        {
            "name": "x",
            "data": {"train": "x.csv"},
            "models": [{"base": "minilm"}],
            "task": {"kind": kind},
            "training": {"method": method} | training,
        }
    )


def test_distillation_needs_a_task_with_a_distill_loss():
    def check(kind: str, method: list[str]) -> None:
        made = experiment(kind, method)
        check_distillation(Candidates.of(made), made.training)

    check("multilabel", ["full", "distill"])
    check("tests.search.test_preflight:NoDistillLoss", ["full"])
    with pytest.raises(ConfigError, match="distill_loss"):
        check("tests.search.test_preflight:NoDistillLoss", ["full", "distill"])


def test_distill_without_another_method_is_refused():
    with pytest.raises(ValueError, match=r"\[full, distill\]"):
        experiment("classification", ["distill"])


def check(method: list[str], layers: list[int] | None = None, **training) -> None:
    made = experiment("classification", method, **training)
    models = [made.models[0].model_copy(update={"layers": layers or [1, 6]})]
    made = made.model_copy(update={"models": models})
    check_methods(Candidates.of(made), made.training)


def test_freeze_must_leave_a_layer_to_train_in_every_size():
    with pytest.raises(ConfigError, match="no trainable layer in minilm:1"):
        check(["freeze"], frozen_layers=1)
    check(["freeze"], layers=[2, 6], frozen_layers=1)
    check(["full", "freeze"], frozen_layers=1)


def test_lora_modules_must_be_linear_layers_of_the_encoder():
    with pytest.raises(ConfigError, match="'query' is no linear layer of the encoder: expected some of qkv, out"):
        check(["lora"], lora={"target_modules": ["query"]})
    check(["lora"], lora={"target_modules": ["attention.qkv", "up"]})
    # The modules are ignored by other methods.
    check(["full"], lora={"target_modules": ["query"]})


def test_max_length_must_not_exceed_the_positions_of_a_base_model():
    made = experiment("classification", ["full"], max_length=8192)
    with pytest.raises(ModelError, match="minilm"):
        check_experiment(Candidates.of(made), made.training)


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("selection.policy", "cheapest", "unknown value 'cheapest' at selection.policy"),
        ("search.sampler", "gpp", "unknown value 'gpp' at search.sampler"),
        ("search.scheduler", "os:nope", "cannot import 'os:nope' at search.scheduler"),
    ],
)
def test_every_name_that_may_be_a_plug_in_is_resolved_before_anything_is_spent(key, value, told):
    made = experiment("classification", ["full"]).with_overrides([f"{key}={value}"])
    with pytest.raises(ConfigError, match=told):
        check_plugins(made.search, made.selection.policy)


def test_what_is_no_task_is_refused_with_what_it_lacks():
    for kind in ("os:system", "tests.search.test_preflight:NoTask"):
        made = experiment(kind, ["full"])
        with pytest.raises(
            ConfigError, match=f"'{kind}' at task.kind is no task: it has no allows_empty, answer_table, "
        ):
            check_experiment(Candidates.of(made), made.training)


def test_built_in_names_pass():
    for kind in ("classification", "multilabel"):
        made = experiment(kind, ["full"])
        check_plugins(made.search, made.selection.policy)
        Candidates.of(made).task.check()
