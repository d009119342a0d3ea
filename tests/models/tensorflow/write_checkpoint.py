"""Write the tiny checkpoint of this folder with TensorFlow: ``python -m tests.models.tensorflow.write_checkpoint``.

Needs ``tensorflow-cpu`` (extra ``tensorflow-test``). The variables are those of Google's BERT, with the slots of its
optimizer and the heads of pre-training, written by `tf.compat.v1.train.Saver` in three data files. The values are
seeded, so tests know them without TensorFlow.
"""

import json
import os
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FOLDER = Path(__file__).parent / "data" / "uncased_tiny"
PREFIX = "bert_model.ckpt"
HIDDEN, LAYERS, HEADS, INTERMEDIATE, POSITIONS = 8, 2, 2, 16, 64
CONFIG = {
    "attention_probs_dropout_prob": 0.1,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": HIDDEN,
    "initializer_range": 0.02,
    "intermediate_size": INTERMEDIATE,
    "max_position_embeddings": POSITIONS,
    "num_attention_heads": HEADS,
    "num_hidden_layers": LAYERS,
    "type_vocab_size": 2,
}
WORDS = (
    "the a of to in and team match goal stocks bank rate film story water moon vote phone chip company plot book coach "
    "oil price market network leader country won late fell rose new fast good bad ##s ##ed ##ing ##er ##ly . , ! ?"
)
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


def vocabulary() -> list[str]:
    """Tokens of ``vocab.txt``: letters too, so that no word is unknown."""
    pieces = [*LETTERS, *(f"##{letter}" for letter in LETTERS)]
    return list(dict.fromkeys([*SPECIALS, *WORDS.split(), *pieces]))


def arrays(layers: int = LAYERS) -> dict[str, NDArray[np.float32]]:
    """Variables of the network and of the heads of pre-training, by the names of Google's BERT."""
    h, i, vocab = HIDDEN, INTERMEDIATE, len(vocabulary())
    shapes: dict[str, tuple[int, ...]] = {
        "bert/embeddings/word_embeddings": (vocab, h),
        "bert/embeddings/position_embeddings": (POSITIONS, h),
        "bert/embeddings/token_type_embeddings": (2, h),
        **_norm("bert/embeddings", h),
    }
    for number in range(layers):
        layer = f"bert/encoder/layer_{number}"
        for part in ("query", "key", "value"):
            shapes |= _dense(f"{layer}/attention/self/{part}", h, h)
        shapes |= _dense(f"{layer}/attention/output/dense", h, h) | _norm(f"{layer}/attention/output", h)
        shapes |= _dense(f"{layer}/intermediate/dense", h, i)
        shapes |= _dense(f"{layer}/output/dense", i, h) | _norm(f"{layer}/output", h)
    shapes |= _dense("bert/pooler/dense", h, h)
    shapes |= _dense("cls/predictions/transform/dense", h, h) | _norm("cls/predictions/transform", h)
    shapes |= {"cls/predictions/output_bias": (vocab,)}
    shapes |= {"cls/seq_relationship/output_weights": (2, h), "cls/seq_relationship/output_bias": (2,)}
    generator = np.random.default_rng(20181)
    found = {}
    for name, shape in shapes.items():
        base = 1.0 if name.endswith("gamma") else 0.0
        found[name] = (base + 0.4 * generator.standard_normal(shape)).astype(np.float32)
    return found


def _dense(name: str, inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}/kernel": (inputs, outputs), f"{name}/bias": (outputs,)}


def _norm(name: str, size: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}/LayerNorm/gamma": (size,), f"{name}/LayerNorm/beta": (size,)}


def write_small_files(folder: Path) -> None:
    """Write ``vocab.txt`` and ``bert_config.json``."""
    tokens = vocabulary()
    (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in tokens), encoding="utf-8")
    config = {**CONFIG, "vocab_size": len(tokens)}
    (folder / "bert_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def write_with_tensorflow(folder: Path) -> None:
    """Write the whole checkpoint as Google's ``run_pretraining.py`` does: weights, slots of Adam, the step."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    v1 = tf.compat.v1
    folder.mkdir(parents=True, exist_ok=True)
    write_small_files(folder)
    with tf.Graph().as_default():
        for number, (name, value) in enumerate(arrays().items()):
            # Two devices give two data files.
            with tf.device(f"/cpu:{number % 2}"):
                v1.get_variable(name, initializer=tf.constant(value), use_resource=False)
                if name.startswith("bert/"):
                    for slot in ("adam_m", "adam_v"):
                        v1.get_variable(f"{name}/{slot}", initializer=tf.zeros(value.shape), use_resource=False)
        v1.train.get_or_create_global_step()
        config = v1.ConfigProto(device_count={"CPU": 2})
        with v1.Session(config=config) as session:
            session.run(v1.global_variables_initializer())
            saver = v1.train.Saver(sharded=True, write_version=v1.train.SaverDef.V2)
            saver.save(session, str(folder / PREFIX), write_meta_graph=False, write_state=False)


if __name__ == "__main__":
    write_with_tensorflow(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
