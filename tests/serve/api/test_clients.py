"""What typed clients, browsers and load balancers send, as they send it."""

import pytest

from lft_ray.serve.http.auth import ApiKeys, hash_keys
from tests.serve.conftest import client_of

pytestmark = pytest.mark.anyio

INFER = "/v2/models/classifier/infer"
TENSOR = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["bbb"]}
BODIES = {
    "/": {"inputs": "bbb"},
    "/invocations": {"inputs": "bbb"},
    "/predict": {"inputs": "bbb"},
    "/v1/classify": {"input": "bbb"},
    INFER: {"inputs": [TENSOR]},
}


async def optional_keys(http, path: str) -> list[str]:
    api = (await http.get("/openapi.json")).json()
    operation = api["paths"][path.replace("classifier", "{model}")]["post"]
    name = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    schema = api["components"]["schemas"][name]
    return [key for key in schema["properties"] if key not in schema["required"]]


async def test_null_is_absent_for_every_optional_key_of_every_protocol(http):
    for path, body in BODIES.items():
        plain = (await http.post(path, json=body)).json()
        keys = await optional_keys(http, path)
        assert keys
        for nulls in (*({key: None} for key in keys), dict.fromkeys(keys)):
            answer = await http.post(path, json=body | nulls)
            assert answer.status_code == 200, (path, nulls, answer.text)
            for moment in ("id", "created"):
                plain.pop(moment, None) if isinstance(plain, dict) else None
            found = answer.json()
            assert all(found[key] == plain[key] for key in plain) if isinstance(plain, dict) else found == plain


@pytest.mark.parametrize(
    ("path", "extra"),
    [
        ("/", {"options": {"wait_for_model": True, "use_cache": False}}),
        ("/", {"options": {}, "parameters": {}}),
        ("/", {"parameters": {"top_k": None, "function_to_apply": None, "truncation": None}}),
        ("/invocations", {"parameters": {"return_all_scores": True, "truncation": "longest_first"}}),
        ("/predict", {"raw_scores": None, "truncate": None, "truncation_direction": "right"}),
        ("/v1/classify", {"truncate_prompt_tokens": -1, "add_special_tokens": True, "priority": 0, "request_id": "a"}),
        ("/v1/classify", {"truncate_prompt_tokens": 512, "truncation_side": "right", "user": "me", "cache_salt": "s"}),
        (INFER, {"parameters": {"priority": 1, "timeout": 5, "sequence_id": 7, "content_type": "str"}}),
        (INFER, {"inputs": [TENSOR | {"parameters": {"content_type": "str"}}]}),
        (INFER, {"inputs": [TENSOR | {"parameters": None}], "outputs": [{"name": "label", "parameters": None}]}),
    ],
)
async def test_keys_that_change_nothing_are_taken(http, path, extra):
    plain = (await http.post(path, json=BODIES[path])).json()
    answer = await http.post(path, json=BODIES[path] | extra)
    assert answer.status_code == 200, answer.text
    if isinstance(plain, list):
        assert answer.json() == plain


@pytest.mark.parametrize(
    ("path", "extra", "says"),
    [
        ("/", {"options": {"hunter2": 1}}, "unknown key in options"),
        ("/", {"parameters": {"max_length": 5}}, "unknown key in parameters"),
        ("/predict", {"truncation_direction": "Left"}, "truncation_direction"),
        (INFER, {"parameters": {"top_k": 1}}, "unknown key in parameters"),
        (INFER, {"inputs": [{key: TENSOR[key] for key in TENSOR if key != "name"}]}, "the key inputs.name is missing"),
        (INFER, {"inputs": [TENSOR | {"parameters": {"hunter2": 1}}]}, "unknown key in inputs.parameters"),
        (INFER, {"outputs": [{"name": "label", "parameters": {"classification": 2}}]}, "classification"),
        (INFER, {"inputs": [TENSOR | {"shape": ["1"]}]}, "inputs.shape"),
        (INFER, {"inputs": [TENSOR | {"shape": [True]}]}, "inputs.shape"),
    ],
)
async def test_keys_that_would_change_something_are_refused_by_their_place(http, path, extra, says):
    answer = await http.post(path, json=BODIES[path] | extra)
    assert answer.status_code == 422, answer.text
    assert says in answer.json()["error"]
    assert "hunter2" not in answer.text


async def test_kserve_echoes_the_name_that_was_asked_for(http):
    for name in ("classifier", "minilm:1"):
        assert (await http.post(f"/v2/models/{name}/infer", json=BODIES[INFER])).json()["model_name"] == name


async def test_info_has_the_fields_of_text_embeddings_inference(http):
    info = (await http.get("/info")).json()
    assert info["model_id"] == info["model"]
    assert info["model_type"]["classifier"]["id2label"]["0"] == info["labels"][0]
    assert (info["max_input_length"], info["max_client_batch_size"]) == (info["max_length"], info["max_batch"])


async def test_browsers_and_load_balancers(http):
    preflight = await http.options("/", headers={"origin": "http://a.test", "access-control-request-method": "POST"})
    assert (preflight.status_code, preflight.headers["allow"]) == (204, "GET, HEAD, OPTIONS, POST")
    assert not [name for name in preflight.headers if name.startswith("access-control")], "other origins stay out"
    assert (await http.options("/nowhere")).status_code == 404
    assert (await http.get("/")).json()["docs"] == "/docs"
    page = await http.get("/", headers={"accept": "text/html,*/*"})
    assert (page.status_code, page.headers["location"]) == (303, "/ui")
    assert (await http.head("/")).status_code == 200


async def test_of_two_request_ids_the_first_is_used_everywhere(http):
    headers = [("content-type", "application/json"), ("x-request-id", "first"), ("x-request-id", "second")]
    answer = await http.post("/v1/classify", json=BODIES["/v1/classify"], headers=headers)
    assert (answer.headers["x-request-id"], answer.json()["id"]) == ("first", "classify-first")
    refused = await http.post("/", json={}, headers=headers)
    assert refused.json()["request_id"] == refused.headers["x-request-id"] == "first"


async def test_the_version_is_told_to_holders_of_a_key_only(service):
    async with client_of(service, ApiKeys(hash_keys("first"))) as http:
        key = {"authorization": "Bearer first"}
        for path in ("/ready", "/health", "/", "/docs"):
            assert "x-model-version" not in (await http.get(path)).headers
            assert (await http.get(path, headers=key)).headers["x-model-version"] == "abc123abc123"
        assert "version" not in (await http.get("/ready")).json()
        assert (await http.get("/ready", headers=key)).json()["version"] == "abc123abc123"
        assert "x-model-version" not in (await http.post("/", json=BODIES["/"])).headers


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("application/json; foo=bar", 200),
        ("application/json; charset=utf8", 200),
        ('application/json;charset="UTF-8";foo=1', 200),
        ("application/json; charset=latin-1", 415),
        ("text/json", 415),
    ],
)
async def test_parameters_of_the_content_type(http, kind, status):
    answer = await http.post("/", content=b'{"inputs": "a"}', headers={"content-type": kind})
    assert answer.status_code == status


async def test_a_text_in_which_the_model_reads_nothing_is_flagged(http, service):
    from lft_ray.models.tokens import Unread

    runner = service.current._batcher._runner
    encode = runner.encode
    runner.encode = lambda texts: [Unread([""]) if text == "?" else encode([text])[0] for text in texts]
    answer = await http.post("/", json={"inputs": ["bbb", "?"]})
    assert (answer.status_code, answer.headers["x-no-tokens"]) == (200, "1")


async def test_a_text_that_the_model_fails_on_is_the_clients(http, service):
    runner = service.current._batcher._runner
    run = runner.run

    def picky(batch):
        if any("poison" in words for words in batch):
            raise IndexError("index out of range")
        return run(batch)

    runner.run = picky
    assert (await http.post("/", json={"inputs": "bbb"})).status_code == 200
    for path, status in (("/", 422), ("/v1/classify", 422), ("/predict", 422)):
        key = "input" if "classify" in path else "inputs"
        answer = await http.post(path, json={key: "a poison"})
        assert (answer.status_code, "cannot be classified" in answer.json()["error"]) == (status, True)
    assert (await http.post("/", json={"inputs": ["bbb", "poison"]})).json()["error"].startswith("text 1, counted")


async def test_vllms_own_client_finds_the_name_to_ask_for(http):
    name = (await http.get("/v1/models")).json()["data"][0]["id"]
    assert (await http.post("/classify", json={"model": name, "input": "bbb"})).status_code == 200


@pytest.mark.parametrize("below", ["config", "stats", ""])
async def test_a_path_below_the_model_is_not_taken_for_its_name(http, below):
    answer = await http.get(f"/v2/models/classifier/{below}")
    assert (answer.status_code, answer.json()["error"]) == (404, "no such path: see /docs")
    assert (await http.get("/v2/models/other/ready")).json()["error"].startswith("no such model")


async def test_hugging_faces_client_may_ask_at_the_path_of_text_embeddings_inference(http):
    plain = (await http.post("/predict", json={"inputs": "bbb"})).json()
    assert (await http.post("/predict", json={"inputs": "bbb", "parameters": {}})).json() == plain
    refused = await http.post("/predict", json={"inputs": "bbb", "parameters": {"top_k": 1}})
    assert (refused.status_code, refused.json()["error"]) == (422, "parameters must be empty")


@pytest.mark.parametrize("value", ["true", 1, 0, "", [], {}])
async def test_a_flag_that_is_none_is_refused_and_never_read_as_false(http, value):
    for extra in (
        {"parameters": {"binary_data_output": value}},
        {"outputs": [{"name": "label", "parameters": {"binary_data": value}}]},
    ):
        answer = await http.post(INFER, json=BODIES[INFER] | extra)
        assert (answer.status_code, "must be true or false" in answer.json()["error"]) == (422, True), extra


async def test_a_flag_that_is_null_is_absent(http):
    extra = {"parameters": {"binary_data_output": True}, "outputs": [{"name": "label", "parameters": {}}]}
    plain = await http.post(INFER, json=BODIES[INFER] | extra)
    extra["outputs"] = [{"name": "label", "parameters": {"binary_data": None}}]
    assert (await http.post(INFER, json=BODIES[INFER] | extra)).content == plain.content
    assert "inference-header-content-length" in plain.headers


async def test_bodies_as_windows_and_careful_clients_write_them(http):
    plain = (await http.post("/", json={"inputs": "bbb"})).json()
    marked = b'\xef\xbb\xbf{"inputs": "bbb"}'
    for kind in ("application/json", "application/json; charset=us-ascii", "application/json; charset="):
        assert (await http.post("/", content=marked, headers={"content-type": kind})).json() == plain


async def test_what_is_no_object_is_said_in_words_of_json(http):
    answer = await http.post("/", json={"inputs": "bbb", "parameters": []})
    assert answer.json()["error"] == "parameters must be an object"
    digits = b'{"inputs": "a", "parameters": {"top_k": ' + b"9" * 5000 + b"}}"
    answer = await http.post("/", content=digits, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["error"]) == (400, "a number has too many digits")


async def test_no_content_has_no_length(http):
    answer = await http.options("/predict")
    assert not {"content-length", "content-type"} & set(answer.headers)
