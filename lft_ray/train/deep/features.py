"""Features of texts for the deep check. In: texts. Out: pooled vectors of a frozen base, or TF-IDF counts. Never fits a
model of the labels.

The vectors are those of the linear probe with which every trial begins: the whole base with its own pooling, not
fine-tuned.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lft_ray.config import ModelSpec
from lft_ray.data.batches import collate
from lft_ray.errors import ModelError
from lft_ray.models.ladder import LADDER
from lft_ray.models.resolve import BaseFiles, find_base
from lft_ray.models.sizes import ModelSize, model_sizes
from lft_ray.models.tfidf_fit import ngrams
from lft_ray.models.tokens import TextTokenizer
from lft_ray.models.words import split_words

__all__ = ["Encoder", "TextInputs", "find_encoder", "network_features", "tfidf_matrix"]

logger = logging.getLogger(__name__)

Floats = NDArray[np.float32]
_PREFERRED = "minilm"
MICRO_BATCH_TOKENS = 8192
"""Padded tokens per forward pass: 150 MB of activations for MiniLM."""
_CHUNK_TEXTS = 4096
"""Texts between two progress messages."""
_MAX_TERMS = 50_000


@dataclass(frozen=True, slots=True)
class Encoder:
    """A base model whose files are on this machine."""

    size: ModelSize
    files: BaseFiles

    @property
    def name(self) -> str:
        """Model size and where its weights come from, for messages."""
        return f"{self.size.name} ({self.files.revision})"


class TextInputs:
    """Token ids of n texts in memory: `lft_ray.data.batches.Inputs` without targets.

    Args:
        texts: n texts.
        tokenizer: tokenizer of the base.
        max_length: maximum number of tokens; longer texts are truncated as in training.
    """

    def __init__(self, texts: Sequence[str], tokenizer: TextTokenizer, max_length: int) -> None:
        self.targets: NDArray[Any] = np.zeros(len(texts), np.int64)
        self.truth = self.targets
        encoded = (
            tokenizer.encode(texts[at : at + _CHUNK_TEXTS], max_length) for at in range(0, len(texts), _CHUNK_TEXTS)
        )
        rows = [np.asarray(ids, np.int32) for ids in chain.from_iterable(encoded)]
        self._lengths = np.array([len(ids) for ids in rows], np.int64)
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def lengths(self, max_length: int) -> NDArray[np.int64]:
        """Token count of each row, int64 [n]."""
        del max_length  # cut when encoded
        return self._lengths

    def tensors(self, rows: NDArray[np.int64], max_length: int, pad_id: int) -> tuple[Any, Any]:
        """Ids and mask of some rows."""
        del max_length
        return collate([self._rows[row] for row in rows], pad_id)


def find_encoder(models: Sequence[ModelSpec]) -> Encoder | None:
    """The network whose features are used: MiniLM if the experiment lists it or no network, else its first network.

    Nothing is downloaded: a check works offline.

    Args:
        models: models of the experiment.

    Returns:
        The encoder; None where no such network is on this machine.
    """
    networks = [spec for spec in models if (entry := LADDER.get(spec.base)) is None or entry.has_network]
    listed = sorted(networks, key=lambda spec: spec.base != _PREFERRED)
    for spec in listed or [ModelSpec(base=_PREFERRED)]:
        whole = spec.model_copy(update={"layers": None})
        try:
            files = find_base(whole, download=False)
        except ModelError as error:
            logger.info("no features of %s: %s", spec.base, error)
            continue
        return Encoder(model_sizes([whole])[0], files)
    return None


def network_features(
    encoder: Encoder, texts: Sequence[str], *, max_length: int, log: Callable[[str], None] | None = None
) -> Floats:
    """Pooled vectors of the frozen base, float32 [n, hidden].

    Args:
        encoder: the base.
        texts: n texts.
        max_length: maximum number of tokens per text.
        log: receives a progress message every few thousand texts.
    """
    from lft_ray.models.network import build
    from lft_ray.train.loop.evaluate import Batching, extract_features

    network = build(encoder.files, encoder.size, 2)
    batching = Batching(max_length, MICRO_BATCH_TOKENS, network.pad_id)
    inputs = TextInputs(texts, TextTokenizer(encoder.files.folder), max_length)
    features = np.zeros((len(texts), encoder.size.hidden), np.float32)
    # By length: a chunk of similar texts has little padding, and the last chunks are the quick ones.
    order = np.argsort(-inputs.lengths(max_length), kind="stable")
    for start in range(0, len(order), _CHUNK_TEXTS):
        rows = order[start : start + _CHUNK_TEXTS]
        features[rows] = extract_features(network, inputs, batching, rows)
        if log is not None and start + _CHUNK_TEXTS < len(order):
            log(f"features: {start + len(rows):,} of {len(order):,} texts")
    return features


def tfidf_matrix(texts: Sequence[str], *, max_length: int) -> Any:
    """Sparse TF-IDF matrix [n, terms] of words and word pairs, float32, as of the product's linear model.

    Args:
        texts: n texts.
        max_length: maximum number of words per text.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    # A term of one text says nothing about other texts, and every label of a row is predicted from other rows.
    vectorizer = TfidfVectorizer(
        analyzer=lambda text: ngrams(split_words(text, max_length)),
        sublinear_tf=True,
        min_df=2,
        max_features=_MAX_TERMS,
        dtype=np.float32,
    )
    try:
        return vectorizer.fit_transform(texts)
    except ValueError:
        # No term occurs in two texts.
        from scipy.sparse import csr_matrix

        return csr_matrix((len(texts), 1), dtype=np.float32)
