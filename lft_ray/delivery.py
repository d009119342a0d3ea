"""What is shipped, and where it answers: frozen values, like those of ``records.py``. Nothing here computes."""

from typing import Literal

from lft_ray.decision import FrontPoint
from lft_ray.processes import ProcessIdentity
from lft_ray.records import Record
from lft_ray.serving_spec import ServeSpec

__all__ = ["Bundle", "CanaryRecord", "Cascade", "CascadeBook", "Endpoint"]


class Bundle(Record):
    """An immutable, verified folder that can be deployed."""

    uri: str
    version: str
    """First 12 hex digits of the manifest's sha256."""
    engine: str
    precision: str
    task_kind: str
    labels: list[str]
    model_size: str
    max_length: int
    bytes: int
    note: str = ""
    """How its precision was checked, or why it is not served as it won; empty where there is nothing to say."""


class Cascade(Record):
    """Two points that are served as one: the small one answers where it is sure, the large one the rest."""

    small: FrontPoint
    large: FrontPoint
    temperature: float
    threshold: float
    """Calibrated confidence below which the large model is asked."""
    share: float
    """Of validation texts that the large model is asked, on the half that did not choose the threshold, both ways."""
    f1: float
    """On those same rows."""
    small_f1: float
    large_f1: float
    usd_per_million_predictions: float
    """Every text through the small model, the share through the large one too; from their measured profiles."""
    margin: float
    validation_rows: int
    test_f1: float | None = None
    """Of one look at the test split, with the threshold that is deployed."""
    test_share: float | None = None
    test_rows: int = 0

    @property
    def pair(self) -> str:
        """Ids of both trials: ``t001+t004``."""
        return f"{self.small.trial_id}+{self.large.trial_id}"


class CascadeBook(Record):
    """``cascades.json``: every cascade that was asked for, one a pair of variants."""

    cascades: list[Cascade]


class CanaryRecord(Record):
    """A candidate that answers a share of the traffic, beside the running model; all replicas together."""

    version: str
    share: float
    minutes: float
    elapsed_minutes: float
    requests: int
    current_requests: int
    """Requests of the running model since the canary began."""
    errors: int
    """Requests that the candidate failed at; the running model answered them."""
    current_errors: int
    p95_ms: float
    current_p95_ms: float
    drift: float
    """Population stability index between the labels that the two gave."""
    running: bool = True
    note: str = ""
    """What it waits for, or how it ended."""


class Endpoint(Record):
    """A live endpoint: ``endpoint.json`` in the run folder."""

    url: str
    version: str
    process: ProcessIdentity | None
    """The supervisor; None when deployed to an existing cluster. Its id alone is not signalled: it may be reused."""
    ports: dict[str, int]
    state: Literal["starting", "ready", "rejected", "stopped"]
    bundle_uri: str
    previous_version: str = ""
    previous_uri: str = ""
    """Bundle to which ``lft rollback`` goes back."""
    canary: CanaryRecord | None = None
    """The canary that runs, or the last one."""
    message: str = ""
    ready_after_s: float = 0.0
    log: str = ""
    """Path of the supervisor's log file."""
    folder: str = ""
    """The supervisor's own folder on its machine: sockets and the bundles it serves. Gone when it has stopped."""
    address: str = ""
    """Ray address when deployed to an existing cluster; empty when the endpoint owns its cluster."""
    spec: ServeSpec | None = None
    """How it was deployed to an existing cluster: going back to the bundle before must change nothing else."""

    @property
    def pid(self) -> int:
        """Process id of the supervisor; 0 when deployed to an existing cluster."""
        return self.process.pid if self.process is not None else 0

    @property
    def has_canary(self) -> bool:
        """Whether a candidate answers a share of the traffic now."""
        return self.canary is not None and self.canary.running and self.state != "stopped"
