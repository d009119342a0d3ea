"""The report of a run as one self-contained HTML file.

In: records of a run. Out: an HTML document. It loads nothing from the network, and shows a dash for every value that
was not measured. Works before there is a winner. Never computes a score.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined, Template
from markupsafe import Markup

from lft_ray.candidates import Candidates
from lft_ray.cost.break_even import break_even_of
from lft_ray.records import (
    Cascade,
    DatasetRecord,
    ProfileBook,
    Selection,
    SizeCoverage,
    TrialRecord,
    TrialStatus,
    now_utc,
)
from lft_ray.report import costs, formats, views
from lft_ray.report.formats import Naming
from lft_ray.report.panels import panel_views
from lft_ray.selection.coverage import confirmation_count, confirmation_sentence, mostly_failed
from lft_ray.selection.intervals import METHOD
from lft_ray.selection.reason import cascade_sentence

__all__ = ["ReportJob", "render"]


FILTERS = (
    "score", "interval", "points_interval", "signed_points", "usd", "duration", "milliseconds", "count", "percent",
    "learning_rate",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ReportJob:
    """Input of a report: the records of a run folder.

    Attributes:
        name: name of the run.
        run_uri: run folder, as the user would type it.
        candidates: model sizes, variants and task of the study.
        money: prices and budgets of the run.
        dataset: the prepared data.
        profiles: measured serving profiles; None: not measured yet.
        records: records of all ended trials, in any order.
        selection: the decision; None: not decided yet.
        environment: versions and machine, possibly nested.
        stage_seconds: stage -> wall seconds.
        cascades: cascades of the run.
        coverage: what became of each model size of the study.
    """

    name: str
    run_uri: str
    candidates: Candidates
    money: costs.MoneySpecs
    dataset: DatasetRecord
    profiles: ProfileBook | None
    records: Sequence[TrialRecord]
    selection: Selection | None
    environment: dict[str, Any]
    stage_seconds: dict[str, float]
    cascades: Sequence[Cascade] = ()
    coverage: Sequence[SizeCoverage] = ()


def render(job: ReportJob) -> str:
    """Render the report of a study.

    Returns:
        An HTML document of less than 6 MB that can be opened offline.
    """
    records, selection, profiles, money = job.records, job.selection, job.profiles, job.money
    front, curves = views.front_data(records, selection, job.cascades), views.curve_data(records)
    return _template().render(
        name=job.name,
        candidates=job.candidates,
        search=money.search,
        selection=selection,
        dataset=job.dataset,
        metric=job.candidates.task.metric_name,
        variant=Naming(records),
        counts={status.value: sum(r.status is status for r in records) for status in TrialStatus},
        trial_total=len(records),
        failures=mostly_failed(records),
        confirmations=confirmation_sentence(confirmation_count(records)),
        interval_method=METHOD,
        comparison=views.comparison(records, selection),
        finalists=views.finalist_rows(selection),
        ladder=views.ladder_rows(records, selection, job.coverage),
        trials=views.trial_rows(records, selection),
        cost=costs.cost_view(money, profiles, records),
        break_even=break_even_of(money.month, profiles, selection, records),
        monthly=costs.winner_monthly(money.month, profiles, selection),
        commands=costs.commands(job.run_uri, job.name),
        front=front,
        cascades=[cascade_sentence(cascade) for cascade in job.cascades],
        curves=curves,
        chart_json=_script_json({"front": front, "curves": curves}),
        data=costs.data_view(job.dataset),
        panels=panel_views(selection.panels if selection else []),
        stages=job.stage_seconds,
        environment=costs.environment_rows(job.environment),
        generated_at=now_utc(),
    )


@cache
def _template() -> Template:
    from plotly.offline import get_plotlyjs

    folder = files("lft_ray.report")
    environment = Environment(
        autoescape=True,
        loader=FunctionLoader(lambda name: folder.joinpath(name).read_text(encoding="utf-8")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in FILTERS:
        environment.filters[name] = getattr(formats, name)
    environment.globals["dash"] = formats.DASH
    # Only these three are inserted unescaped: they come from this package and the charting library, not from users.
    environment.globals["style"] = Markup(folder.joinpath("style.css").read_text(encoding="utf-8"))
    environment.globals["script"] = Markup(folder.joinpath("report.js").read_text(encoding="utf-8"))
    environment.globals["plotly_js"] = Markup(get_plotlyjs())
    return environment.get_template("template.html.j2")


def _script_json(value: Any) -> Markup:
    """Serialize to JSON that cannot close the surrounding script element, whatever the labels are."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return Markup(text)
