"""The sklearn engine: what it imports, and what it refuses."""

import subprocess
import sys

import numpy as np
import pytest

from lft_ray.engines.sklearn_engine import SklearnEngine
from lft_ray.errors import BundleError


def test_a_linear_engine_loads_neither_torch_nor_scikit_learn(tmp_path):
    from lft_ray.models.tfidf import TfidfModel
    from lft_ray.tasks.classification import Classification

    task = Classification(["a", "b"])
    rows = ["good fine", "bad poor"] * 10
    TfidfModel.fit(rows, np.array([0, 1] * 10), task, 0).save(tmp_path)
    code = (
        "import sys\nfrom pathlib import Path\nfrom lft_ray.engines.sklearn_engine import SklearnEngine\n"
        f"runner = SklearnEngine.open(Path({str(tmp_path)!r}), precision='fp32', threads=1)\n"
        "assert runner.run(runner.encode(['good'])).argmax() == 0\n"
        "print(*({'torch', 'transformers', 'sklearn', 'scipy', 'ray'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.split() == []
    with pytest.raises(BundleError, match="no precision 'bf16'"):
        SklearnEngine.open(tmp_path, precision="bf16", threads=1)
