"""`EngineCard`: metadata of a model folder that an engine needs to open it. Written with a trained model.

In and out: ``engine.json``. Defined here because models write it, and engines import models, never the reverse.
"""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, PositiveInt, ValidationError

from lft_ray.errors import BundleError

__all__ = ["ENGINE_FILE", "TOKENS", "EngineCard"]

TOKENS = "tokens"
"""``pooling`` of a network whose head is applied to each token."""
ENGINE_FILE = "engine.json"


class EngineCard(BaseModel):
    """Content of ``engine.json``: everything an engine needs besides its own files."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    engine: str
    model_size: str
    outputs: PositiveInt
    max_length: PositiveInt
    pooling: str = ""
    """What the head reads: mean, cls, last or tokens; empty for models without a network."""
    precision: str = ""
    """Precision of the files; empty where the engine converts them to the requested precision when opening."""
    pad_id: int = 0
    """Token id used as padding, for engines whose files do not record it."""

    segments: int = 1
    """Texts that one input consists of: 2 for pairs."""

    longest_answer: int = 0
    """Maximum tokens of an answer, of a model that answers with a piece of the second text; 0 for others."""

    @property
    def reads_tokens(self) -> bool:
        """Whether the head is applied to each token, and not to one vector of a text."""
        return self.pooling == TOKENS

    def with_max_length(self, max_length: int | None) -> "EngineCard":
        """Return the card of the same model with a shorter maximum length; None: this card.

        Raises:
            BundleError: ``max_length`` is above the length that the model was trained with, or below 1.
        """
        if max_length is None or max_length == self.max_length:
            return self
        if not 1 <= max_length < self.max_length:
            raise BundleError(
                f"{self.model_size} reads at most {self.max_length} tokens per text, got max_length {max_length}"
            )
        return self.model_copy(update={"max_length": max_length})

    def write(self, folder: Path) -> None:
        """Write ``engine.json`` to an existing folder."""
        (folder / ENGINE_FILE).write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> "EngineCard":
        """Read ``engine.json`` of a folder.

        Raises:
            BundleError: the file is missing or not a valid card of this version.
        """
        try:
            return cls.model_validate_json((folder / ENGINE_FILE).read_bytes())
        except (OSError, ValidationError) as error:
            raise BundleError(f"{folder / ENGINE_FILE} cannot be read as an engine card: {error}") from error
