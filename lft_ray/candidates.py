"""Candidates of a study: model sizes, variants, price and task, resolved once by `prepare`.

In: an `Experiment` and its prepared data. Out: `Candidates`, ``candidates.json`` of the run folder. Names from the
experiment are resolved to values here, so that no later stage looks them up again. Never measures.
"""

from collections.abc import Mapping

from pydantic import Field, JsonValue

from lft_ray.config import CostSpec, Experiment, ModelSpec, Precision, TrainingSpec
from lft_ray.config.methods import FULL, LINEAR_PROBE, LORA
from lft_ray.cost.prices import Price, price_of
from lft_ray.engines.variants import variants_of
from lft_ray.errors import ConfigError, ModelError, nearest
from lft_ray.models.floors import FLOORS
from lft_ray.models.sizes import ModelSize, model_sizes
from lft_ray.plugins import resolve
from lft_ray.records import DatasetRecord, Learned, Record, Variant
from lft_ray.run.folder import RunFolder
from lft_ray.tasks import TASKS
from lft_ray.tasks.base import Head, Task
from lft_ray.tasks.columns import input_columns
from lft_ray.tasks.find import head_of, make_task

__all__ = ["Candidates", "TaskRecord"]


METHODS_OF_TOKENS = (FULL, LORA)
"""Training methods for a head that reads tokens: the others train on one vector of each text."""


class TaskRecord(Learned):
    """The learning task, without the columns of the data."""

    kind: str
    labels: list[str]
    """Label names; empty before the data is read."""
    outputs: int
    """Number of outputs of the head; 0 before the data is read."""
    metric: str
    can_distill: bool
    """Whether the task defines a distillation loss."""
    other_facts: dict[str, JsonValue] = Field(default_factory=dict)
    """What the task learned from train, where that is not a list of labels alone."""

    @classmethod
    def of(cls, kind: str, metric: str | None, facts: Mapping[str, JsonValue] | None = None) -> "TaskRecord":
        """Resolve a task by its name.

        Args:
            kind: built-in name or ``package.module:Name``.
            metric: metric that the search maximises; None: the default of the task.
            facts: what the task learned from the data; None: the data is not read yet.

        Raises:
            ConfigError: there is no such task, or it has no such metric.
        """
        found: type[Task] = resolve(kind, TASKS, where="task.kind")
        metrics = getattr(found, "metric_names", {})
        if metric is not None and metric not in metrics:
            hint = f"expected one of {', '.join(metrics)}.{nearest(metric, metrics)}"
            raise ConfigError(f"unknown metric {metric!r} at task.metric: {hint}")
        task = make_task(kind, facts) if facts else None
        return cls(
            kind=kind,
            labels=task.labels if task else [],
            outputs=task.outputs if task else 0,
            metric=metric or next(iter(metrics), ""),
            can_distill=hasattr(found, "distill_loss"),
            other_facts={} if facts is None or set(facts) == {"labels"} else dict(facts),
        )

    @property
    def segments(self) -> int:
        """Texts of one input: 2 for pairs."""
        return len(input_columns(resolve(self.kind, TASKS, where="task.kind").columns))

    @property
    def head(self) -> Head:
        """What the head of a network reads."""
        return head_of(self.kind)

    @property
    def metric_name(self) -> str:
        """What F1 is called in sentences, such as macro-F1."""
        found: type[Task] = resolve(self.kind, TASKS, where="task.kind")
        return found.metric_names.get(self.metric, self.metric)

    def check(self) -> None:
        """Refuse a class that is no task.

        Raises:
            ConfigError: it lacks members of `Task`; the message names them.
        """
        found = resolve(self.kind, TASKS, where="task.kind")
        # Labels are set when a task is made; without a distill_loss, a task cannot be distilled.
        verbs = {name for name in vars(Task) if not name.startswith("_")} - {"distill_loss"}
        members = verbs | {"columns", "metric_names"}
        if missing := sorted(name for name in members if not hasattr(found, name)):
            listed = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
            raise ConfigError(
                f"{self.kind!r} at task.kind is no task: it has no {listed}",
                fix="write a class with the members of lft_ray.tasks.base.Task",
            )

    def usable(self, training: TrainingSpec) -> TrainingSpec:
        """Return the settings without those defaults that the task cannot use, whose head reads tokens.

        These are the linear probe, as a method and as the first head: it is fitted on one vector of each text.

        Raises:
            ConfigError: a setting that is no default cannot be used, or no training method is left.
        """
        if self.head == "vector":
            return training
        methods = [method for method in training.method if method != LINEAR_PROBE]
        if not methods or not set(methods) <= set(METHODS_OF_TOKENS):
            raise ConfigError(
                f"training.method lists {', '.join(training.method)}, but the head of task {self.kind!r} reads tokens: "
                f"expected some of {', '.join(METHODS_OF_TOKENS)}",
                fix="--set training.method=[full]",
            )
        if training.class_weights != "none":
            message = f"training.class_weights is {training.class_weights!r}, but task {self.kind!r} has no classes"
            raise ConfigError(message, fix="--set training.class_weights=none")
        return training.replace(method=methods, head_init="random")

    def row_spread(self, counts: Mapping[str, int], rows: int) -> float:
        """`Task.row_spread` of the metric that the search maximises."""
        found: type[Task] = resolve(self.kind, TASKS, where="task.kind")
        return found.row_spread(self.metric, counts, rows)

    def make(self) -> "Task":
        """Instantiate the task; a record holds plain values only, so each process creates its own instance."""
        return make_task(self.kind, self.facts)


class Candidates(Record):
    """Everything that a study may train and serve.

    Workers receive ``models`` and load the weights themselves: records never contain weights.
    """

    models: list[ModelSpec]
    """Base models as the experiment lists them, from which a worker finds the weights of a model size."""
    sizes: list[ModelSize]
    """Model sizes, smallest first by number of parameters, which is known before anything is measured."""
    precisions: list[Precision]
    """``export.precisions``; the first is the reference."""
    max_lengths: list[int]
    """Maximum lengths in tokens at which a network is offered, the trained (longest) one first."""
    variants: dict[str, list[Variant]]
    """Model size -> its variants, the reference first."""
    longest_tokens: dict[str, int] = Field(default_factory=dict)
    """Base -> tokens of its longest sample text, if shorter lengths are offered; a length that truncates no text is
    skipped."""
    revisions: dict[str, str] = Field(default_factory=dict)
    """Base -> hub commit, ``package==version`` of a wheel, or ``local``, as resolved when the run was prepared."""
    price: Price
    task: TaskRecord

    @classmethod
    def of(cls, experiment: Experiment, dataset: DatasetRecord | None = None) -> "Candidates":
        """Resolve the names of an experiment. Reads no weights of base models in the ladder.

        Args:
            experiment: its models, task, price, precisions and lengths are resolved.
            dataset: prepared data, for the labels; None: not read yet.

        Raises:
            InputError: a name is unknown, or a base model outside the ladder cannot be read.
        """
        sizes, task = model_sizes(experiment.models), experiment.task
        lengths, precisions = experiment.max_lengths, experiment.export.precisions
        return cls(
            models=experiment.models,
            sizes=sizes,
            precisions=precisions,
            max_lengths=lengths,
            variants={size.name: variants_of(size, precisions, lengths) for size in sizes},
            price=price_of(experiment.cost),
            task=TaskRecord.of(task.kind, task.metric, dataset.facts if dataset is not None else None),
        )

    @classmethod
    def of_run(cls, run: RunFolder) -> "Candidates":
        """Read the candidates of a run; without ``candidates.json``, resolve its experiment on this machine.

        Raises:
            InputError: the file is damaged, or a name in the run's experiment is unknown.
        """
        found = run.find_record("candidates.json", cls)
        return found if found is not None else cls.of(run.experiment(), run.dataset())

    def check_floors(self) -> None:
        """Refuse models without a network that are not for the task.

        Raises:
            ConfigError: names them, and those that are.
        """
        wrong = [size.base for size in self.sizes if size.is_linear and FLOORS[size.family].head != self.task.head]
        if wrong:
            right = " or ".join(family for family, floor in FLOORS.items() if floor.head == self.task.head)
            message = f"models lists {wrong[0]!r}, which cannot be fitted for task {self.task.kind!r}"
            raise ConfigError(f"{message}: expected {right}, or networks", fix=f"put {right} under models")

    def usable(self, experiment: Experiment) -> Experiment:
        """Return the experiment with the training settings that its task can use; see `TaskRecord.usable`."""
        return experiment.replace(training=self.task.usable(experiment.training))

    def check_weights(self) -> None:
        """Check that the files of every base model can be found.

        Raises:
            ModelError: a base model cannot be found; the message lists the places that were searched.
        """
        from lft_ray.models.resolve import find_base

        for base in self.bases:
            find_base(self.model_of(base))

    def with_weights(self, dataset: DatasetRecord) -> "Candidates":
        """Add what is read from the files of the base models: revisions, and token counts of the longest sample text.

        Raises:
            ModelError: a base model cannot be found.
        """
        from lft_ray.models.resolve import find_base
        from lft_ray.models.tokens import TextTokenizer

        longest, revisions = {}, {}
        for base in self.bases:
            files = find_base(self.model_of(base))
            revisions[base] = files.revision
            if len(self.max_lengths) > 1:
                encoded = TextTokenizer(files.folder).encode(dataset.sample_texts, self.max_lengths[0])
                longest[base] = max(map(len, encoded), default=0)
        return self.replace(longest_tokens=longest, revisions=revisions)

    @property
    def networks(self) -> list[ModelSize]:
        """Model sizes that are neural networks (not TF-IDF), smallest first."""
        return [size for size in self.sizes if not size.is_linear]

    @property
    def bases(self) -> list[str]:
        """Distinct base models of the networks."""
        return list(dict.fromkeys(size.base for size in self.networks))

    def size(self, name: str) -> ModelSize:
        """Return the model size of this name.

        Raises:
            ModelError: the experiment has no such size; the message suggests the nearest name.
        """
        found = {size.name: size for size in self.sizes}
        if name not in found:
            raise ModelError(f"unknown model size {name!r}: expected one of {', '.join(found)}.{nearest(name, found)}")
        return found[name]

    def model_of(self, base: str) -> ModelSpec:
        """The entry of ``models`` in the experiment that names this base model."""
        return next(spec for spec in self.models if spec.base == base)

    def distinct_variants(self, size: ModelSize) -> list[Variant]:
        """Variants of a size, without shorter lengths that truncate no sample text: they would repeat the reference."""
        reference, *shorter = self.variants[size.name]
        longest = self.longest_tokens.get(size.base)
        return [reference] + [
            v for v in shorter if v.max_length == reference.max_length or longest is None or v.max_length < longest
        ]

    def priced(self, cost: CostSpec) -> "Candidates":
        """Return a copy with the price of another cost section, which may change on resume and deployment.

        Raises:
            ConfigError: the price is unknown.
        """
        return self.replace(price=price_of(cost))

    def check_same(self, now: "Candidates", *, where: str) -> None:
        """Refuse to resume a run whose names now resolve to something else. Prices may change.

        Args:
            now: candidates that the experiment resolves to now.
            where: URI of the run, for the error message.

        Raises:
            ConfigError: naming the differences.
        """
        old_sizes, new_sizes = ({size.name: size for size in c.sizes} for c in (self, now))
        changed = sorted(n for n in old_sizes.keys() | new_sizes.keys() if old_sizes.get(n) != new_sizes.get(n))
        # A run keeps the length of its linear model, which a release may change.
        linear = {name for name, size in old_sizes.items() if size.is_linear}
        differing = [f"model size {name}" for name in changed]
        differing += [
            name
            for name in ("models", "precisions", "max_lengths", "task")
            if getattr(self, name) != getattr(now, name)
        ]
        old_variants, new_variants = (
            {name: found for name, found in c.variants.items() if name not in linear} for c in (self, now)
        )
        differing += ["variants"] if old_variants != new_variants else []
        if differing:
            raise ConfigError(
                f"{where} cannot be resumed: its candidates.json differs from the current experiment in "
                f"{', '.join(differing)}",
                fix="restore the base models and the experiment of the run, or give the experiment another `name`",
            )
