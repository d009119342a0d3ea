"""Views of a run: coverage, leaderboard, HTML. In: a run folder, its ledger. Out: `SizeCoverage`, a dictionary, HTML.

Never changes the run.
"""

from typing import Any

from lft_ray.candidates import Candidates
from lft_ray.cost.break_even import break_even_of
from lft_ray.records import DatasetRecord, SizeCoverage
from lft_ray.report.costs import MoneySpecs
from lft_ray.run.folder import RunFolder
from lft_ray.run.ledger import Ledger
from lft_ray.search.specs import StudySpecs
from lft_ray.selection.coverage import REFUSED, Limits, Refused, coverage_of
from lft_ray.selection.leaderboard import leaderboard

__all__ = ["board_of_run", "coverage_of_run", "html_of_run"]


def coverage_of_run(
    run: RunFolder,
    candidates: Candidates,
    ledger: Ledger,
    specs: StudySpecs,
    *,
    is_over: bool,
) -> list[SizeCoverage]:
    """What a study did with each of its model sizes, up to now.

    Args:
        run: the run folder.
        candidates: model sizes of the study.
        ledger: its trials.
        specs: sections of its experiment.
        is_over: whether the search has ended.
    """
    refused = run.find_record(REFUSED, Refused)
    limits = Limits(specs.search, specs.caps, refused.sizes if refused else {}, is_over)
    return coverage_of(
        candidates, run.profiles(), ledger.records(), ledger.started(), limits, utilisation=specs.cost.utilisation
    )


def board_of_run(
    run: RunFolder,
    candidates: Candidates,
    ledger: Ledger,
    specs: StudySpecs,
    money: MoneySpecs,
) -> dict[str, Any]:
    """The leaderboard of a run, also of a running search; ``break_even`` is None without a winner.

    Args:
        run: the run folder.
        candidates: model sizes of the study.
        ledger: its trials.
        specs: sections of its experiment.
        money: prices, traffic and budgets.
    """
    selection, records = run.selection(), ledger.records()
    coverage = coverage_of_run(run, candidates, ledger, specs, is_over=selection is not None)
    pays = break_even_of(money.month, run.profiles(), selection, records)
    board = leaderboard(selection, records, run.cascades(), coverage)
    return {**board, "break_even": pays.model_dump(mode="json") if pays else None}


def html_of_run(
    run: RunFolder,
    candidates: Candidates,
    dataset: DatasetRecord,
    ledger: Ledger,
    specs: StudySpecs,
    money: MoneySpecs,
    names: tuple[str, str],
) -> str:
    """The report of a run as one HTML document.

    Args:
        run: the run folder.
        candidates: model sizes of the study.
        dataset: the prepared data.
        ledger: its trials.
        specs: sections of its experiment.
        money: prices, traffic and budgets.
        names: name of the run, and its folder as the user would type it.
    """
    from lft_ray.report.html import ReportJob, render

    selection = run.selection()
    name, run_uri = names
    return render(
        ReportJob(
            name=name,
            run_uri=run_uri,
            candidates=candidates,
            money=money,
            dataset=dataset,
            profiles=run.profiles(),
            records=ledger.records(),
            selection=selection,
            environment=run.environments(),
            stage_seconds=run.stage_seconds(),
            cascades=run.cascades(),
            coverage=coverage_of_run(run, candidates, ledger, specs, is_over=selection is not None),
        )
    )
