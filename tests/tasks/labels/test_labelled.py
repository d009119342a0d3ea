"""What tasks with labels answer to the data stage."""

import numpy as np
import pytest

from lft_ray.tasks.classification import Classification
from lft_ray.tasks.columns import Column
from lft_ray.tasks.facts import Facts, LabelFacts
from lft_ray.tasks.findings import Findings
from lft_ray.tasks.multilabel import Multilabel
from tests.tasks.tables import clean_rows


class Pairs(Classification):
    columns = tuple(Column(role, (role,), "text", "input") for role in ("a", "b"))


def test_labels_are_learned_and_make_the_task():
    facts = Classification.learn({"label": [["10"], ["9"], ["10"]]})
    assert facts == LabelFacts(labels=["9", "10"])
    assert Multilabel.of(facts).labels == ["9", "10"]
    with pytest.raises(TypeError, match="Multilabel needs LabelFacts, got Facts"):
        Multilabel.of(Facts())


def test_the_identity_of_one_text_is_the_text_and_of_two_keeps_them_apart():
    assert Classification.identity({"text": ["a", "b"], "label": [[], []]}) == ["a", "b"]
    one, other = Pairs.identity({"a": ["x", "x y"], "b": ["y z", "z"]})
    assert one.split() != other.split()


def test_a_split_without_a_label_is_an_error_for_train_alone():
    rows = clean_rows([("a", ["x"]), ("b", ["y"])])
    task = Classification(["x", "y", "z"])
    for split, severity in [("train", "error"), ("test", "warning")]:
        findings = Findings()
        task.check_split(rows.take(split, np.array([0, 1])), findings)
        assert [problem.severity for problem in findings.problems] == [severity]
        assert "'z'" in findings.problems[0].message
    findings = Findings()
    task.check_split(rows.take("test", np.array([], np.int64)), findings)
    assert [problem.code for problem in findings.problems] == ["split_too_small"]
