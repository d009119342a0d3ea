"""``bom.json``: the bill of materials of a bundle, in CycloneDX 1.6 (https://cyclonedx.org/docs/1.6/json/).

The model with its model card, the base model and the data that it was made of, and the SHA-256 of every file.
In: the metadata and facts of the model card. Out: a JSON object. Never contains a time or a random number, so that the
same checkpoint gives the same bundle.
"""

import json
import uuid
from typing import Any

from lft_ray.export.card import CardFacts, CardSubject

__all__ = ["render_bom"]

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://github.com/lft-ray/lft_ray/bom")
_SPDX = {"apache-2.0": "Apache-2.0", "mit": "MIT", "bsd-3-clause": "BSD-3-Clause", "cc-by-4.0": "CC-BY-4.0"}
"""Licence names of the model hub whose SPDX id is spelled in another way; others are passed on as plain names."""


def render_bom(subject: CardSubject, facts: CardFacts, digests: dict[str, str]) -> dict[str, Any]:
    """Return the bill of materials as a JSON object.

    Args:
        subject: metadata of the bundle.
        facts: contents of the model card.
        digests: SHA-256 in hex of each file of the bundle, by its relative path.
    """
    materials = [*_base_model(facts), *_data(facts)]
    files = [
        {"type": "file", "bom-ref": f"file:{name}", "name": name, "hashes": [{"alg": "SHA-256", "content": digest}]}
        for name, digest in sorted(digests.items())
    ]
    bom: dict[str, Any] = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"tools": {"components": _tools(facts)}, "component": _model(subject, facts)},
        "components": [*materials, *files],
        "dependencies": [
            {"ref": "model", "dependsOn": [item["bom-ref"] for item in materials]},
            *({"ref": item["bom-ref"]} for item in [*materials, *files]),
        ],
    }
    # The identity is that of the content: the same bundle made twice has one serial number.
    content = json.dumps(bom, sort_keys=True, ensure_ascii=False)
    return {**bom, "serialNumber": f"urn:uuid:{uuid.uuid5(_NAMESPACE, content)}"}


_OUTPUTS = {
    "labels": "probabilities of {labels} labels",
    "spans": "pieces of a context with their places and probabilities",
}
"""What predictions consist of -> what the model puts out."""


def _model(subject: CardSubject, facts: CardFacts) -> dict[str, Any]:
    parameters: dict[str, Any] = {
        "task": subject.task_kind,
        "modelArchitecture": subject.model_size,
        "approach": {"type": "supervised"},
        "inputs": [{"format": "text"}],
        "outputs": [{"format": _OUTPUTS[subject.answers].format(labels=len(subject.labels))}],
    }
    if facts.data_fingerprint:
        parameters["datasets"] = [{"ref": "data"}]
    card: dict[str, Any] = {"modelParameters": parameters}
    metrics = [*_metrics("validation", facts.validation), *_metrics("test", facts.test)]
    if metrics:
        card["quantitativeAnalysis"] = {"performanceMetrics": metrics}
    return {
        "type": "machine-learning-model",
        "bom-ref": "model",
        "name": facts.name,
        "description": facts.reason or f"{subject.describes} ({subject.task_kind})",
        "modelCard": card,
        "properties": [
            {"name": "lft-ray:engine", "value": subject.engine},
            {"name": "lft-ray:precision", "value": subject.precision},
            {"name": "lft-ray:max_length", "value": str(subject.max_length)},
        ],
    }


def _metrics(split: str, values: dict[str, float]) -> list[dict[str, str]]:
    return [{"type": name, "value": f"{value:.6f}", "slice": split} for name, value in sorted(values.items())]


def _base_model(facts: CardFacts) -> list[dict[str, Any]]:
    if not facts.base_model:
        return []
    component: dict[str, Any] = {"type": "machine-learning-model", "bom-ref": "base-model", "name": facts.base_model}
    if facts.base_revision:
        component["version"] = facts.base_revision
    if licence := facts.base_licence.strip():
        spdx = _SPDX.get(licence.lower())
        component["licenses"] = [{"license": {"id": spdx} if spdx else {"name": licence}}]
    return [component]


def _data(facts: CardFacts) -> list[dict[str, Any]]:
    if not facts.data_fingerprint:
        return []
    return [
        {
            "type": "data",
            "bom-ref": "data",
            "name": "training data",
            "data": [{"type": "dataset", "name": "training data"}],
            "properties": [
                {"name": "lft-ray:fingerprint", "value": facts.data_fingerprint},
                {"name": "lft-ray:train_rows", "value": str(facts.train_rows)},
            ],
        }
    ]


def _tools(facts: CardFacts) -> list[dict[str, str]]:
    """Packages from "lft-ray 0.2.0, torch 2.13.0", as the card words them."""
    pairs = [item.split(" ", 1) for item in facts.made_with.split(", ") if " " in item]
    return [{"type": "application", "name": name, "version": version} for name, version in pairs]
