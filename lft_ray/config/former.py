"""Defaults of earlier versions, so that a run is resumed with what it was begun with.

In: an experiment, and the one that its run recorded. Out: the experiment, with the recorded value of every key whose
default has changed since and that the file leaves out. Never overrides what a file or ``--set`` says.
"""

from lft_ray.config.experiment import Experiment

__all__ = ["FORMER_DEFAULTS", "as_begun"]

FORMER_DEFAULTS: dict[tuple[str, str], object] = {("training", "method"): ["full"], ("task", "metric"): "macro_f1"}
"""(section, key) -> default until the version before; that of 0.1.0 and 0.2.0."""


def as_begun(experiment: Experiment, recorded: Experiment) -> Experiment:
    """The experiment with the recorded values of keys that it leaves out and whose defaults have changed.

    Args:
        experiment: as given now.
        recorded: as its run recorded it.
    """
    for (section, key), former in FORMER_DEFAULTS.items():
        now = getattr(experiment, section)
        if key not in now.model_fields_set and getattr(getattr(recorded, section), key) == former:
            experiment = experiment.model_copy(update={section: now.model_copy(update={key: former})})
    return experiment
