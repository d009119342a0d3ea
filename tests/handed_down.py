"""What the pipeline hands down of an experiment, for tests that begin below it."""

from lft_ray.candidates import Candidates
from lft_ray.config import Experiment
from lft_ray.export.build import ExportJob
from lft_ray.pipeline import Prepared
from lft_ray.records import DatasetRecord, ProfileBook
from lft_ray.report.costs import MoneySpecs
from lft_ray.run.ledger import Ledger
from lft_ray.run.storage import Storage
from lft_ray.search.budget.admission import BudgetAdmission
from lft_ray.search.budget.pricing import Pricing
from lft_ray.search.budget.workload import Workload, admission_of
from lft_ray.search.specs import StudySpecs
from lft_ray.search.study import StudyJob


def candidates(experiment: Experiment, dataset: DatasetRecord | None = None) -> Candidates:
    """With labels and text lengths where data is given."""
    found = Candidates.of(experiment, dataset)
    return found.with_weights(dataset) if dataset is not None else found


def specs(experiment: Experiment) -> StudySpecs:
    return StudySpecs(experiment.search, experiment.training, experiment.selection, experiment.cost)


def money(experiment: Experiment) -> MoneySpecs:
    price = Candidates.of(experiment).price
    return MoneySpecs(price, experiment.cost, experiment.search, experiment.serve)


def pricing(experiment: Experiment, profiles: ProfileBook) -> Pricing:
    return Pricing.of(Candidates.of(experiment), profiles, utilisation=experiment.cost.utilisation)


def workload(experiment: Experiment, dataset: DatasetRecord, *, on_gpu: bool = False) -> Workload:
    return Workload.of(Candidates.of(experiment), dataset, experiment.training, on_gpu=on_gpu)


def admission(experiment: Experiment, work: Workload, **options) -> BudgetAdmission:
    return admission_of(specs(experiment), Candidates.of(experiment).price, work, **options)


def study(experiment: Experiment, dataset: DatasetRecord, profiles: ProfileBook) -> StudyJob:
    ledger = Ledger(Storage(experiment.run_uri))
    return StudyJob(ledger, Candidates.of(experiment, dataset), dataset, profiles, specs(experiment))


def prepared(experiment: Experiment, dataset: DatasetRecord) -> Prepared:
    return Prepared(dataset, candidates(experiment, dataset), Ledger(Storage(experiment.run_uri)))


def export_job(experiment: Experiment, dataset: DatasetRecord, selection, target: Storage) -> ExportJob:
    distill = experiment.training.distill
    return ExportJob(experiment.name, candidates(experiment, dataset), dataset, selection, target, distill)
