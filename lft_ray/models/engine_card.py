"""`EngineCard`: what a folder says about how it is opened. Written with a trained model, read by engines.

In and out: ``engine.json``. It stands with the models, since they write it, and engines import models, not the reverse.
"""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, PositiveInt, ValidationError

from lft_ray.errors import BundleError

__all__ = ["ENGINE_FILE", "EngineCard"]

ENGINE_FILE = "engine.json"


class EngineCard(BaseModel):
    """``engine.json``: all an engine needs to know besides its own files."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    engine: str
    model_size: str
    outputs: PositiveInt
    max_length: PositiveInt
    pooling: str = ""
    """mean, cls or last; empty for engines without a network."""
    precision: str = ""
    """The one precision of the folder's files; empty where the engine makes its own of them when it opens."""
    pad_id: int = 0
    """Token id behind a shorter text, for engines whose files do not say it."""

    def cut_at(self, max_length: int | None) -> "EngineCard":
        """The card of the same model that reads fewer tokens of a text; None: itself.

        Raises:
            BundleError: the model was not trained to read so many.
        """
        if max_length is None or max_length == self.max_length:
            return self
        if not 1 <= max_length < self.max_length:
            raise BundleError(f"{self.model_size} reads at most {self.max_length} tokens of a text, got {max_length}")
        return self.model_copy(update={"max_length": max_length})

    def write(self, folder: Path) -> None:
        """Write ``engine.json`` into a folder that exists."""
        (folder / ENGINE_FILE).write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> "EngineCard":
        """Read ``engine.json`` of a folder.

        Raises:
            BundleError: the file is absent or not a card of this version.
        """
        try:
            return cls.model_validate_json((folder / ENGINE_FILE).read_bytes())
        except (OSError, ValidationError) as error:
            raise BundleError(f"{folder / ENGINE_FILE} cannot be read as an engine card: {error}") from error
