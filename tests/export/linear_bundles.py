"""Bundles of a linear model, which are made in milliseconds."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lft_ray.export.bundle import ExportPlan, export_bundle
from lft_ray.export.card import CardFacts
from lft_ray.models.tfidf import TfidfModel
from lft_ray.run.storage import Storage
from lft_ray.tasks.classification import Classification

LABELS = ("book", "money", "sport")
TEXTS = ("a warm and funny book", "stocks fell again", "the team won the match")


def linear_model(seed: int = 0) -> TfidfModel:
    """A model fitted on `TEXTS`, in the order of `LABELS`; other seeds give other vocabularies."""
    texts = [f"{text} {seed}" for text in TEXTS] * 10
    return TfidfModel.fit(texts, np.array([0, 1, 2] * 10), Classification(list(LABELS)), seed)


def linear_bundle(folder: Path, *, model: TfidfModel | None = None, labels: Sequence[str] = LABELS) -> Path:
    """Export ``model`` to ``folder/bundle``."""
    (model or linear_model()).save(folder / "trained")
    plan = ExportPlan(
        precision="fp32",
        task_kind="classification",
        labels=list(labels),
        samples=list(TEXTS),
        card=CardFacts(name="news"),
    )
    return Path(export_bundle(folder / "trained", plan, Storage(folder), "bundle").uri)
