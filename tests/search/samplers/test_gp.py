import numpy as np
import pytest

from lft_ray.search.samplers.gp import GaussianProcess, _loss, _priors


def test_the_gradient_of_the_loss_is_the_numeric_one():
    rng = np.random.default_rng(0)
    x, z = rng.random((15, 2)), rng.normal(size=15)
    squares = np.stack([((x[:, None, i] - x[None, :, i]) ** 2).ravel() for i in range(2)])
    means, deviations = _priors(2)
    at = means + 0.2

    def loss(point):
        return _loss(point, squares, z, np.full(15, 0.01), means, deviations)

    numeric = [(loss(at + 1e-5 * e)[0] - loss(at - 1e-5 * e)[0]) / 2e-5 for e in np.eye(4)]
    assert loss(at)[1] == pytest.approx(numeric, rel=1e-4, abs=1e-4)


def test_fit_learns_a_curve_its_noise_and_an_irrelevant_feature():
    rng = np.random.default_rng(0)
    x = rng.random((60, 2))
    y = np.sin(4 * x[:, 0]) + 0.05 * rng.normal(size=60)
    gp = GaussianProcess.fit(x, y, groups=np.array([0, 1]))
    grid = rng.random((500, 2))
    mean, sd = gp.predict(grid)
    off = mean - np.sin(4 * grid[:, 0])
    assert np.sqrt((off**2).mean()) < 0.04
    assert 0.5 < np.sqrt(((off / sd) ** 2).mean()) < 2.0
    assert gp.log_scales[1] > gp.log_scales[0] + 1.0
    assert np.exp(gp.log_scales[-2]) * gp.scaling[1] == pytest.approx(0.05, rel=0.4)


def test_a_value_with_extra_noise_pulls_the_mean_less():
    x, y = np.array([[0.0], [0.5], [1.0]]), np.array([0.0, 1.0, 0.0])
    # The deviations cannot be compared: two sure values of 0 and one of no weight make a flatter, surer function.
    sure = GaussianProcess.fit(x, y, groups=np.array([0]), extra_sd=np.zeros(3))
    unsure = GaussianProcess.fit(x, y, groups=np.array([0]), extra_sd=np.array([0.0, 2.0, 0.0]))
    middle = np.array([[0.5]])
    assert unsure.predict(middle)[0] < sure.predict(middle)[0]


def test_an_imputed_point_keeps_the_mean_and_reduces_the_deviation():
    rng = np.random.default_rng(0)
    x, y = rng.random((12, 2)), rng.normal(size=12)
    gp = GaussianProcess.fit(x, y, groups=np.array([0, 1]))
    new = np.array([[0.9, 0.1]])
    mean, sd = gp.predict(new)
    after, new_sd = gp.extended(new, mean).predict(new)
    assert after == pytest.approx(mean, abs=1e-6)
    assert new_sd < sd


def test_fit_accepts_equal_values():
    gp = GaussianProcess.fit(np.zeros((4, 1)), np.full(4, 0.5), groups=np.array([0]))
    mean, sd = gp.predict(np.array([[0.0], [1.0]]))
    assert mean == pytest.approx([0.5, 0.5])
    assert np.all(sd > 0)
