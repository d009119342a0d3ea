"""Cascades on disk: written, opened, and refused when the parts do not match."""

import shutil

import pytest

from lft_ray.errors import BundleError
from lft_ray.export.bundle import open_bundle
from lft_ray.export.cascade import CASCADE_FILE, CascadeSpec, is_cascade, open_cascade, put_cascade, version_of
from lft_ray.run.storage import Storage
from tests.export.linear_bundles import LABELS, linear_bundle, linear_model


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    small = linear_bundle(tmp_path_factory.mktemp("small"))
    return small, linear_bundle(tmp_path_factory.mktemp("large"), model=linear_model(seed=1))


def spec_of(small, large) -> CascadeSpec:
    small_version, large_version = (open_bundle(folder).bundle.version for folder in (small, large))
    return CascadeSpec(small_version=small_version, large_version=large_version, temperature=1.5, threshold=0.8)


@pytest.fixture
def cascade(bundles, tmp_path):
    put_cascade(*bundles, spec_of(*bundles), Storage(tmp_path), "cascade")
    return tmp_path / "cascade"


def test_open_cascade_returns_both_bundles_and_the_spec(bundles, cascade):
    opened = open_cascade(cascade)
    assert opened.spec == spec_of(*bundles)
    assert [opened.small.bundle.version, opened.large.bundle.version] == [version_of(folder) for folder in bundles]
    assert is_cascade(cascade)
    assert not is_cascade(bundles[0])


def test_version_of_a_cascade_changes_with_its_threshold(bundles, cascade, tmp_path):
    put_cascade(*bundles, spec_of(*bundles), Storage(tmp_path), "same")
    put_cascade(*bundles, spec_of(*bundles).replace(threshold=0.9), Storage(tmp_path), "other")
    assert version_of(tmp_path / "same") == version_of(cascade) == open_cascade(cascade).version
    assert version_of(tmp_path / "other") != version_of(cascade)


def test_open_cascade_refuses_a_swapped_bundle(bundles, cascade):
    shutil.rmtree(cascade / "large")
    shutil.copytree(bundles[0], cascade / "large")
    with pytest.raises(BundleError, match=r"names the versions .* but the folder contains"):
        open_cascade(cascade)


def test_open_cascade_verifies_the_files_of_both_bundles(cascade):
    with (cascade / "large" / "predictor.json").open("a") as stream:
        stream.write(" ")
    with pytest.raises(BundleError, match=r"predictor\.json was changed"):
        open_cascade(cascade)


@pytest.mark.parametrize("content", [None, "{}", "not JSON"])
def test_open_cascade_refuses_a_missing_or_invalid_file(cascade, content):
    (cascade / CASCADE_FILE).unlink()
    if content is not None:
        (cascade / CASCADE_FILE).write_text(content)
    with pytest.raises(BundleError, match=r"cascade\.json is missing or invalid"):
        open_cascade(cascade)


def test_put_cascade_stores_nothing_if_the_labels_differ(bundles, tmp_path):
    other = linear_bundle(tmp_path / "other", labels=LABELS[::-1])
    with pytest.raises(BundleError, match="same labels in the same order"):
        put_cascade(bundles[0], other, spec_of(bundles[0], other), Storage(tmp_path), "cascade")
    assert not (tmp_path / "cascade").exists()
