import random

import pytest

from lft_ray.cost.forecast import DEFAULT_RATES, Forecast, mean_tokens, trial_flops
from lft_ray.records import DatasetRecord, TrialConfig, Usage


def usage(seconds, wall=None, device_s=0.0):
    return Usage(core_s=seconds, wall_s=wall or seconds, device_s=device_s)


def split(name):
    return {"name": name, "uri": "", "rows": 0, "label_counts": {}}


def dataset(**change):
    base = {
        "fingerprint": "f", "source_files": {}, "task_kind": "classification", "text_column": "text",
        "label_column": "label", "labels": ["a", "b"], "words_quantiles": {},
        "splits": {name: split(name) for name in ("train", "validation")},
    }  # fmt: skip
    return DatasetRecord(**{**base, **change})


def test_flops_count_training_three_times_and_every_evaluation():
    config = TrialConfig(model_size="minilm:1", epochs=2)
    flops = trial_flops(config, flops_per_token=10, train_tokens=100, validation_tokens=20, evaluations=4)
    assert flops == 10 * (3 * 2 * 100 + 4 * 20)
    more = trial_flops(
        config, flops_per_token=10, train_tokens=100, validation_tokens=20, evaluations=4, variant_tokens=30
    )
    assert more == flops + 10 * 30
    assert trial_flops(TrialConfig(model_size="tfidf"), flops_per_token=10, train_tokens=100) == 3000


def test_mean_tokens_come_from_the_sample_texts_and_respect_the_cut():
    data = dataset(sample_texts=["one two three four five"] * 3)
    assert mean_tokens(data, 128) == pytest.approx(5 * 1.4 + 2)
    assert mean_tokens(data, 8) == 8


def test_mean_tokens_fall_back_to_the_quantiles():
    data = dataset(words_quantiles={"p50": 40, "p95": 60, "p99": 80, "max": 200})
    assert 20 * 1.4 < mean_tokens(data, 512) < 60 * 1.4


def test_before_the_first_measurement_the_stated_rate_is_used_three_times_over():
    forecast = Forecast()
    assert not forecast.is_measured()
    assert forecast.predict(2e12).core_s == pytest.approx(DEFAULT_RATES["cpu"].start_s + 100)
    assert forecast.worst_case(2e12).core_s == pytest.approx(3 * 110)
    assert forecast.predict(1e12).device_s == 0
    assert forecast.predict(1e12, device="cuda").device_s > 0


def test_one_measurement_scales_the_guess():
    forecast = Forecast()
    forecast.observe(2e12, usage(55.0))
    assert forecast.is_measured()
    assert forecast.predict(2e12).core_s == pytest.approx(55.0)
    assert forecast.predict(4e12).core_s > 80
    assert not forecast.is_measured("cuda")


def test_the_line_is_found_and_one_disturbed_trial_does_not_bend_it():
    forecast = Forecast()
    for i in range(1, 9):
        forecast.observe(i * 1e12, usage(6 + i * 20.0, wall=12 + i * 25.0))
    forecast.observe(3e12, usage(900.0))
    assert forecast.predict(10e12).core_s == pytest.approx(206, rel=0.06)
    assert forecast.predict(10e12).wall_s == pytest.approx(262, rel=0.06)


def test_devices_are_learned_apart():
    forecast = Forecast()
    forecast.observe(1e12, usage(50.0))
    before = forecast.predict(1e12)
    forecast.observe(1e12, usage(3.0, device_s=2.0), device="cuda")
    assert forecast.predict(1e12) == before
    assert forecast.predict(1e12, device="cuda").device_s == pytest.approx(2.0)


def test_the_worst_case_shrinks_as_measurements_come_but_never_below_the_worst_seen():
    forecast = Forecast()
    factors = [forecast.worst_case_factor()]
    for i in range(1, 21):
        forecast.observe(i * 1e12, usage(6 + i * 20.0))
        factors.append(forecast.worst_case_factor())
    assert factors == sorted(factors, reverse=True)
    assert factors[-1] == pytest.approx(1.3 * 1.05)
    forecast.observe(5e12, usage(3 * 106.0))
    assert forecast.worst_case_factor() > 2.9


def test_noisy_trials_end_within_the_worst_case():
    rng = random.Random(0)
    forecast = Forecast()
    over = 0
    for _ in range(60):
        flops = 10 ** rng.uniform(11.5, 13.5)
        took = (8 + flops / 3e10) * rng.lognormvariate(0, 0.12)
        over += took > forecast.worst_case(flops).core_s
        forecast.observe(flops, usage(took))
    assert over <= 1


def test_retries_cost_what_a_crash_can_lose_and_at_most_the_trial_itself():
    forecast = Forecast()
    plain = forecast.worst_case(2e12)
    once = forecast.worst_case(2e12, retries=1, lost_s=11.0)
    assert once.core_s == pytest.approx(plain.core_s * 1.1)
    assert forecast.worst_case(2e12, retries=1, lost_s=1e9).core_s == pytest.approx(plain.core_s * 2)


def test_predictions_never_fall_with_more_work_nor_below_zero():
    forecast = Forecast()
    for flops, seconds in ((1e12, 40.0), (2e12, 30.0), (4e12, 35.0), (8e12, 20.0)):
        forecast.observe(flops, usage(seconds))
    small, large = forecast.predict(1e11), forecast.predict(1e13)
    assert 0 <= small.core_s <= large.core_s
    assert large.device_s == 0


def test_contexts_are_read_in_windows_that_each_have_the_question():
    short, long = ("who won", "a b c d"), ("who won", "word " * 1000)
    task = {"task_kind": "question_answering", "sample_texts": [short]}
    assert mean_tokens(dataset(**task), 128) == pytest.approx(4 * 1.4 + 3 + 2 * 1.4 + 0.4, abs=0.5)
    read = mean_tokens(dataset(**task | {"sample_texts": [long]}), 128)
    # 1,400 tokens, of which a window holds some 122 and shares half with the next.
    assert 2 * 1400 < read < 2.5 * 1400
    assert read < mean_tokens(dataset(**task | {"sample_texts": [long]}), 64)
