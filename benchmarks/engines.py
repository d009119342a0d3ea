"""What a text costs in each engine and precision, in-process, and how fast a whole file goes beside transformers.

python benchmarks/engines.py [--quick] [--layers 6] [--texts FILE]

One network (MiniLM, first k layers, a fresh head) as the product serves it: onnxruntime in fp32 and int8, torch in fp32
and bf16. Processor milliseconds a text on one thread, one at a time and with 32 texts waiting at several batch budgets;
resident megabytes and seconds to the first answer of a process that opens nothing else. Then all texts on all cores:
rows a second of `lft predict --output`'s own loop and of the transformers pipeline (batches of 32, sorted by length or
not), in turns. Processor time holds on a busy machine, rows a second do not. Prints tables and, last, one JSON object.
"""

import argparse
import csv
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from publishing import RESULTS, publish

from lft_ray.cluster.environment import machine
from lft_ray.config import ModelSpec
from lft_ray.engines.batching import BATCH_TOKENS, run_encoded
from lft_ray.engines.build import Built, build_folder
from lft_ray.engines.bulk import BulkRunner
from lft_ray.models.engine_card import EngineCard
from lft_ray.models.network import build, save
from lft_ray.models.resolve import find_base
from lft_ray.models.sizes import model_sizes

REPO = Path(__file__).resolve().parent.parent
BUDGETS = (128, 256, BATCH_TOKENS, 512, 1024, 2048)
COLD = """
import sys, time
begun = time.perf_counter()
from pathlib import Path
from lft_ray.engines import ENGINES
from lft_ray.plugins import resolve
folder, engine, precision = sys.argv[1:]
runner = resolve(engine, ENGINES, where="").open(Path(folder), precision=precision, threads=1)
runner.run(runner.encode(["a short text"]))
status = Path("/proc/self/status").read_text()
resident = next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]
print(time.perf_counter() - begun, int(resident) / 1024)
"""


def made(layers: int, folder: Path) -> dict[str, Built]:
    """The network in each way of serving it, by name."""
    spec = ModelSpec(base="minilm", layers=[layers])
    (size,) = model_sizes([spec])
    base = find_base(spec)
    card = EngineCard(engine="torch", model_size=size.name, outputs=4, max_length=128, pooling=size.pooling)
    save(build(base, size, 4), folder / "trained", tokenizer_from=base.folder, card=card)
    ways = {"onnxruntime fp32": "fp32", "onnxruntime int8": "int8", "torch bf16": "bf16"}
    found = {
        name: build_folder(folder / "trained", folder / name.replace(" ", "-"), precision=precision)
        for name, precision in ways.items()
    }
    exact = build_folder(folder / "trained", folder / "torch-fp32", precision="fp32", engine="torch")
    return found | {"torch fp32": exact}


def core_ms(built: Built, texts: list[str], repeats: int) -> dict[str, float]:
    """Least processor milliseconds a text: one at a time, and with 32 waiting, by batch budget."""
    runner = built.open(threads=1)
    encoded = runner.encode(texts)

    def least(width: int, budget: int) -> float:
        times = []
        for _ in range(repeats):
            begun = time.process_time()
            for start in range(0, len(encoded), width):
                run_encoded(runner, encoded[start : start + width], max_batch_tokens=budget)
            times.append(1e3 * (time.process_time() - begun) / len(encoded))
        return min(times)

    return {"alone": least(1, BATCH_TOKENS)} | {str(budget): least(32, budget) for budget in BUDGETS}


def cold(built: Built) -> tuple[float, float]:
    """Seconds to the first answer of a fresh process, imports included, and its resident MB."""
    words = [sys.executable, "-c", COLD, str(built.folder), built.card.engine, built.precision]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    seconds, megabytes = map(float, done.stdout.split())
    return seconds, megabytes


def rows_per_s(call: Any, texts: list[str]) -> float:
    """Of one call over all texts, wall clock."""
    begun = time.perf_counter()
    call(texts)
    return len(texts) / (time.perf_counter() - begun)


def pipeline_of(layers: int) -> Any:
    """The transformers pipeline on the same base, as many layers and labels."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

    folder = find_base(ModelSpec(base="minilm")).folder
    model: Any = AutoModelForSequenceClassification
    network = model.from_pretrained(folder, num_labels=4, num_hidden_layers=layers)
    return pipeline("text-classification", model=network, tokenizer=AutoTokenizer.from_pretrained(folder))


def whole_file(ways: dict[str, Built], texts: list[str], layers: int, repeats: int) -> dict[str, float]:
    """Best rows a second of each way over all texts, measured in turns."""
    pipe = pipeline_of(layers)
    ordered = sorted(texts, key=len)
    options = {"batch_size": 32, "truncation": True, "max_length": 128}
    calls = {
        "transformers pipeline": lambda _: pipe(texts, **options),
        "transformers pipeline, sorted": lambda _: pipe(ordered, **options),
    }
    cores = os.cpu_count() or 1
    for name, built in ways.items():
        calls[f"lft {name}"] = BulkRunner(built.open(threads=1), workers=cores).run
    best = dict.fromkeys(calls, 0.0)
    for _ in range(repeats):
        for name, call in calls.items():
            best[name] = max(best[name], rows_per_s(call, texts))
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--texts", type=Path, help="one text a line; default: the sample corpus")
    options = parser.parse_args()
    if options.texts:
        texts = [line for line in options.texts.read_text(encoding="utf-8").splitlines() if line.strip()]
    else:
        with (REPO / "experiments/data/news.csv").open(encoding="utf-8", newline="") as stream:
            texts = [row["text"] for row in csv.DictReader(stream)]
    texts = texts[: 256 if options.quick else 1536]
    repeats = 2 if options.quick else 5
    with tempfile.TemporaryDirectory(prefix="lft-bench-") as folder:
        ways = made(options.layers, Path(folder))
        print(f"{'core ms a text':18}", "  alone", *(f"{budget:7}" for budget in BUDGETS), "first s", "     MB")
        costs, starts = {}, {}
        for name, built in ways.items():
            costs[name], starts[name] = core_ms(built, texts[:512], repeats), cold(built)
            cells = [*costs[name].values(), *starts[name]]
            print(f"{name:18}", *(f"{cell:7.2f}" for cell in cells), flush=True)
        rates = whole_file(ways, texts, options.layers, repeats)
    for name, rate in rates.items():
        print(f"{name:32} {rate:8.0f} rows/s")
    at = str(BATCH_TOKENS)
    row = {
        "benchmark": "engines", "machine": machine(), "layers": options.layers, "texts": len(texts), "core_ms": costs,
        "first_answer_s_and_mb": starts, "rows_per_s": rates,
        "int8_vs_fp32": costs["onnxruntime fp32"][at] / costs["onnxruntime int8"][at],
        "fp32_vs_torch_fp32": costs["torch fp32"][at] / costs["onnxruntime fp32"][at],
        "batch_predict_vs_pipeline": rates["lft onnxruntime fp32"] / rates["transformers pipeline"],
    }  # fmt: skip
    publish(row, RESULTS / "engines.jsonl")


if __name__ == "__main__":
    main()
