"""Contract of inference engines, `lft_ray.engines.base.Engine`.

In: your engine and a model folder that it can open. Out: passed or failed tests. Never uses HTTP or Ray.
"""

import shutil
from pathlib import Path

import numpy as np
import pytest

from lft_ray.engines.base import Engine, Runner
from lft_ray.errors import BundleError

__all__ = ["MAX_LENGTH", "OUTPUTS", "TEXTS", "EngineContract"]

MAX_LENGTH = 12
OUTPUTS = 3
TEXTS = [
    "the team won the match",
    "stocks fell as the bank raised its interest rate again and again and again, said 3 reports",
    "x",
    "ünïcode 東京 👍🏽 \x00 \ud7ff tabs\tand\nlines",
    "word " * 3000,
]


class EngineContract:
    """Subclass it with fixtures ``engine`` and ``folder``; override ``precision`` and ``tolerance`` if necessary."""

    @pytest.fixture
    def engine(self) -> type[Engine]:
        """Your engine class."""
        pytest.fail("a subclass of EngineContract needs a fixture engine that returns your class")

    @pytest.fixture
    def folder(self) -> Path:
        """A model folder for it, with `OUTPUTS` outputs and a maximum length of `MAX_LENGTH` tokens."""
        pytest.fail("a subclass of EngineContract needs a fixture folder that returns a model's folder")

    @pytest.fixture
    def precision(self, engine: type[Engine]) -> str:
        """The tested precision: the first of the engine."""
        return engine.precisions[0]

    @pytest.fixture
    def tolerance(self, precision: str) -> float:
        """Largest difference between the logits of a text in two batches: 1e-5, or 0.05 below fp32."""
        return 1e-5 if precision == "fp32" else 5e-2

    @pytest.fixture
    def runner(self, engine: type[Engine], folder: Path, precision: str) -> Runner:
        """A runner of the opened folder."""
        return engine.open(folder, precision=precision, threads=1)

    def test_logits_are_finite_float32_with_one_row_per_text(self, runner: Runner) -> None:
        logits = runner.run(runner.encode(TEXTS))
        assert logits.shape == (len(TEXTS), OUTPUTS)
        assert logits.dtype == np.dtype(np.float32)
        assert np.isfinite(logits).all()

    def test_texts_are_truncated_to_max_length(self, runner: Runner) -> None:
        assert runner.max_length == MAX_LENGTH
        assert all(len(encoded) <= MAX_LENGTH for encoded in runner.encode(TEXTS))

    def test_a_prediction_does_not_depend_on_its_batch(self, runner: Runner, tolerance: float) -> None:
        encoded = runner.encode(TEXTS)
        together = runner.run(encoded)
        alone = np.concatenate([runner.run([one]) for one in encoded])
        assert np.abs(together - alone).max() < tolerance
        backwards = runner.run(encoded[::-1])[::-1]
        assert np.abs(together - backwards).max() < tolerance

    def test_two_runners_of_a_folder_give_equal_logits(
        self, engine: type[Engine], folder: Path, precision: str
    ) -> None:
        first, second = (engine.open(folder, precision=precision, threads=1) for _ in range(2))
        assert np.array_equal(first.run(first.encode(TEXTS)), second.run(second.encode(TEXTS)))

    def test_an_unknown_precision_is_refused(self, engine: type[Engine], folder: Path) -> None:
        with pytest.raises(BundleError, match="int3"):
            engine.open(folder, precision="int3", threads=1)

    def test_every_missing_file_is_a_bundle_error(
        self, engine: type[Engine], folder: Path, precision: str, tmp_path: Path
    ) -> None:
        for number, missing in enumerate(sorted(path.name for path in folder.iterdir())):
            part = tmp_path / f"without-{number}"
            shutil.copytree(folder, part)
            (part / missing).unlink()
            with pytest.raises(BundleError):
                engine.open(part, precision=precision, threads=1)

    def test_a_folder_is_opened_at_a_shorter_length_than_its_card_says(
        self, engine: type[Engine], folder: Path, precision: str
    ) -> None:
        short = engine.open(folder, precision=precision, threads=1, max_length=8)
        assert short.max_length == 8
        encoded = short.encode(TEXTS)
        assert max(map(len, encoded)) == 8
        whole = engine.open(folder, precision=precision, threads=1)
        # Texts below both lengths have equal logits; truncated words have no effect.
        assert np.array_equal(short.run(short.encode(TEXTS[2:3])), whole.run(whole.encode(TEXTS[2:3])))
        same = engine.open(folder, precision=precision, threads=1, max_length=MAX_LENGTH)
        assert np.array_equal(same.run(same.encode(TEXTS)), whole.run(whole.encode(TEXTS)))
        with pytest.raises(BundleError, match=f"reads at most {MAX_LENGTH} tokens per text"):
            engine.open(folder, precision=precision, threads=1, max_length=MAX_LENGTH + 1)
