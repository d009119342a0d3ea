from lft_ray.serve.http.metrics import Metrics
from tests.serve.conftest import make_predictor


def lines(metrics: Metrics) -> list[str]:
    return metrics.text().decode().splitlines()


def test_requests_are_counted_by_protocol_and_status():
    metrics = Metrics(lambda: 7, lambda: None)
    metrics.count("hf", 200, 0.004, texts=3, truncated=1)
    metrics.count("hf", 200, 0.004)
    metrics.count("tei", 429, 0.2)
    text = lines(metrics)
    for line in (
        'lft_requests_total{protocol="hf",status="200"} 2.0',
        'lft_requests_total{protocol="tei",status="429"} 1.0',
        'lft_texts_total{protocol="hf"} 3.0',
        "lft_truncated_texts_total 1.0",
        "lft_queued_texts 7.0",
        'lft_request_seconds_bucket{le="0.0025",protocol="hf",status="200"} 0.0',
        'lft_request_seconds_bucket{le="0.005",protocol="hf",status="200"} 2.0',
        'lft_request_seconds_count{protocol="tei",status="429"} 1.0',
    ):
        assert line in text


def test_model_info_names_only_the_current_model():
    current = None
    metrics = Metrics(lambda: 0, lambda: current)
    assert not [line for line in lines(metrics) if line.startswith("lft_model_info{")]
    for version in ("one", "two"):
        current = make_predictor(version).info
        found = [line for line in lines(metrics) if line.startswith("lft_model_info{")]
        assert found == [f'lft_model_info{{model="minilm:1",version="{version}"}} 1.0']


def test_two_replicas_in_one_process_share_no_registry():
    one, two = Metrics(lambda: 0, lambda: None), Metrics(lambda: 0, lambda: None)
    one.count("hf", 200, 0.1)
    assert not [line for line in lines(two) if line.startswith("lft_requests_total{")]


def test_batches_are_recorded_and_no_series_says_when_it_began():
    metrics = Metrics(lambda: 0, lambda: None)
    metrics.observe_batch(3, 0.02)
    text = lines(metrics)
    assert 'lft_batch_texts_bucket{le="2.0"} 0.0' in text
    assert 'lft_batch_texts_bucket{le="4.0"} 1.0' in text
    assert 'lft_queue_seconds_bucket{le="0.025"} 1.0' in text
    assert not [line for line in text if "_created" in line]
