"""Questions sent by the clients: in batches, in order, and nothing that an endpoint would refuse."""

import pytest

from lft_ray.client import Client
from lft_ray.errors import InputError, LftError
from lft_ray.request_bodies import bodies
from lft_ray.wire import Info, SpanAnswer
from tests.serve.conftest import make_question_service
from tests.serve.running import running
from tests.test_client import INFO, Blocking, echo, server

QA_INFO = INFO | {"task": "question_answering", "labels": [], "segments": 2, "answers": "spans", "model": "overlap"}


@pytest.fixture(params=[Client, Blocking], ids=["blocking", "async"])
def connect(request):
    return request.param


def answered(path: str, body: dict | None) -> tuple[int, object]:
    if path == "/info":
        return 200, QA_INFO
    top_k = (body or {}).get("parameters", {}).get("top_k", 1)
    told = [{"answer": one["context"], "start": 0, "end": 1, "score": 1.0} for one in (body or {})["inputs"]]
    return 200, told if top_k == 1 else [[one] * top_k for one in told]


def serving(body: object):
    return server(lambda path, _: (200, QA_INFO) if path == "/info" else (200, body))


def test_many_questions_are_sent_in_batches_and_come_back_in_order(connect):
    asked = [("why?", f"context {n}") for n in range(8)]
    with server(answered) as (url, seen), connect(url) as client:
        found = client.answer(asked)
        assert client.answer([list(one) for one in asked], top_k=1) == found
        two = client.answer(asked, top_k=2)
    assert [one.answer for one in found] == [context for _, context in asked]
    assert two == [[one, one] for one in found]
    sent = [body for path, body, _ in seen if path == "/"]
    assert sorted(len(body["inputs"]) for body in sent[:3]) == [2, 3, 3]
    assert sorted(sent[0]["inputs"][0]) == ["context", "question"]


def test_a_batch_of_questions_stays_below_the_body_limit(connect):
    with server(answered) as (url, seen), connect(url) as client:
        assert len(client.answer([("q", '"' * 500), ("é" * 100, "é" * 400), ("a", "c" * 500)])) == 3
    sizes = [int(headers["Content-Length"]) for path, _, headers in seen if path == "/"]
    assert (len(sizes) > 1, max(sizes) <= INFO["max_body_bytes"]) == (True, True)


def test_overload_is_retried(connect):
    left = [(503, {"error": "busy"})]

    def answer(path, body):
        return left.pop() if path == "/" and left else answered(path, body)

    with server(answer) as (url, _), connect(url, retries=1) as client:
        assert client.answer([("a", "b")])[0].answer == "b"


def test_no_questions_are_no_request(connect):
    with server(answered) as (url, seen), connect(url) as client:
        assert client.answer([]) == []
    assert seen == []


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("why?", "answer expects a list of questions with their contexts, got a single str"),
        (("why?", "since"), "got a tuple of texts"),
        ({"why?": "since"}, "got a dict"),
        (["why?"], "question 0 is a str, expected a tuple of question and context"),
        ([("a", "b"), ("a",)], "question 1 has 1 texts"),
        ([("a", "b", "c")], "question 0 has 3 texts"),
        ([("a", 5)], "question 0 holds a int"),
        ([("a", " ")], "question 0 has a blank context"),
        ([("\u200b", "b")], "question 0 is blank"),
        ([("a", "\ud800")], "question 0 contains an unpaired surrogate"),
        ([("a", "b" * 3000)], "a question with its context of 3,0"),
    ],
)
def test_what_is_no_question_is_refused_before_it_is_sent(connect, given, says):
    with server(answered) as (url, seen), connect(url) as client, pytest.raises(InputError, match=says):
        client.answer(given)
    assert [path for path, _, _ in seen if path == "/"] == []


def test_each_method_is_for_its_own_endpoints(connect):
    with server(answered) as (url, seen), connect(url) as client, pytest.raises(InputError) as raised:
        client.predict([("a", "b")])
    assert "predict is not for this endpoint: its model, overlap, answers questions" in str(raised.value)
    assert "answer([(question, context), ...])" in str(raised.value)
    with server(echo) as (url, _), connect(url) as client, pytest.raises(InputError, match="classifies texts"):
        client.answer([("a", "b")])
    assert [path for path, _, _ in seen] == ["/info"]


@pytest.mark.parametrize(
    ("body", "top_k", "says"),
    [
        ([], None, "returned 0 rows for 1 texts"),
        ([[]], 2, "a row without"),
        ([[{"label": "a", "score": 1.0}]], None, "not an endpoint"),
        ([{"answer": "a", "start": 0, "end": 1, "score": 1.0}], 2, "not an endpoint"),
    ],
)
def test_answers_that_cannot_be_right_are_errors(connect, body, top_k, says):
    with serving(body) as (url, _), connect(url) as client, pytest.raises(LftError, match=says):
        client.answer([("a", "b")], top_k=top_k)


def test_top_k_is_a_whole_number(connect):
    with server(answered) as (url, _), connect(url) as client, pytest.raises(InputError, match="not a whole number"):
        client.answer([("a", "b")], top_k=1.5)


def test_a_real_endpoint():
    context = "Ada met Bob"
    with running(make=make_question_service) as live, Client(live.url) as client:
        found = client.answer([("Bob?", context), ("Zoë?", context)])
        assert found[0] == SpanAnswer(answer="Bob", start=8, end=11, score=found[0].score)
        assert [one.answer for one in client.answer([("Bob?", context)], top_k=3)[0]] == ["Bob", ""]
        assert len(client.answer([("Bob?", context)] * 300)) == 300
        with pytest.raises(InputError, match="top_k must be a whole number from 1 to 5"):
            client.answer([("Bob?", context)], top_k=6)


def test_an_endpoint_that_says_nothing_of_its_predictions_gives_labels():
    info = Info.model_validate(INFO)
    assert bodies(["a"], None, info, "labels") == [{"inputs": ["a"]}]
