"""Engine cards: written, read, shortened."""

import json

import pytest

from lft_ray.errors import BundleError
from lft_ray.models.engine_card import ENGINE_FILE, EngineCard

CARD = EngineCard(engine="torch", model_size="tiny:2", outputs=3, max_length=32, pooling="mean", pad_id=7)


def test_read_returns_the_card_that_was_written(tmp_path):
    CARD.write(tmp_path)
    assert EngineCard.read(tmp_path) == CARD


@pytest.mark.parametrize("change", [{"max_length": 0}, {"unknown": 1}, {"engine": None}])
def test_read_rejects_an_invalid_card(tmp_path, change):
    (tmp_path / ENGINE_FILE).write_text(json.dumps(CARD.model_dump() | change))
    with pytest.raises(BundleError, match="cannot be read as an engine card"):
        EngineCard.read(tmp_path)


def test_read_rejects_a_folder_without_a_card(tmp_path):
    with pytest.raises(BundleError, match="cannot be read as an engine card"):
        EngineCard.read(tmp_path)


def test_with_max_length_only_shortens():
    assert CARD.with_max_length(None) is CARD
    assert CARD.with_max_length(32) is CARD
    assert CARD.with_max_length(8) == CARD.model_copy(update={"max_length": 8})
    for length in (0, 33):
        with pytest.raises(BundleError, match="at most 32 tokens"):
            CARD.with_max_length(length)
