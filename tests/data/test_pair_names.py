import pytest

from lft_ray.data.pair_names import named_pair


@pytest.mark.parametrize(
    ("names", "first", "second"),
    [
        (["b", "text_a", "text_b"], "text_a", "text_b"),
        (["Text 2", "Text 1"], "Text 1", "Text 2"),
        (["premise", "hypothesis", "question"], "premise", "hypothesis"),
        (["question", "sentence", "s1", "s2"], "s1", "s2"),
    ],
)
def test_names_that_belong_together(names, first, second):
    found = named_pair(names)
    assert (found.first, found.second, found.is_clear) == (first, second, True)


@pytest.mark.parametrize(
    "names",
    [
        [], ["text"], ["text", "body"], ["data", "datb"], ["a", "b"], ["1", "2"], ["x1", "x2", "x3"],
        ["s1", "s2", "premise", "hypothesis"], ["query", "title", "passage"],
    ],
)  # fmt: skip
def test_names_that_do_not_or_that_are_several(names):
    assert named_pair(names) is None


def test_names_that_might_be_a_remark_are_not_clear():
    assert named_pair(["question", "answer", "id"]).is_clear is False
