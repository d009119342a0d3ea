from lft_ray.serve.api.endpoints import inference_routes, status_routes
from lft_ray.serve.http.errors import OPEN_PATHS, HttpError
from lft_ray.serve.http.metrics import Metrics
from lft_ray.serve.protocols.inference import InferenceHandler
from lft_ray.serve.rollout.service import Service
from tests.serve.conftest import make_predictor

SERVICE = Service(lambda _: make_predictor())
INFERENCE = inference_routes(InferenceHandler(SERVICE))
STATUS = status_routes(SERVICE, Metrics(lambda: 0, lambda: None).text, list, with_keys=False)


def test_no_two_routes_have_the_same_method_and_path():
    keys = [(route.method, route.path) for route in [*INFERENCE, *STATUS]]
    assert len(set(keys)) == len(keys)


def test_inference_routes_are_posts_with_a_body_and_all_statuses():
    for route in INFERENCE:
        assert route.method == "POST"
        assert route.request is not None
        assert route.request.model_validate(route.example)
        assert {200, 400, 408, 413, 415, 422, 503} <= set(route.statuses)
    assert {route.protocol for route in INFERENCE} == {"hf", "sagemaker", "tei", "vllm", "kserve"}


def test_errors_of_tei_are_translated_and_others_are_not():
    error = HttpError(500, "internal")
    statuses = {route.path: route.translate(error).status for route in INFERENCE}
    assert (statuses["/predict"], statuses["/"]) == (424, 500)


def test_paths_without_a_key_exist():
    assert {route.path for route in STATUS} >= OPEN_PATHS
