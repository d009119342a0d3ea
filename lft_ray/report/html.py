"""The report as ONE self-contained HTML file. In: records of a run. Out: text. No network, no number that was not
measured: what is missing is a dash. Works before a winner exists.
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
from lft_ray.records import Cascade, DatasetRecord, ProfileBook, Selection, TrialRecord, TrialStatus, now_utc
from lft_ray.report import costs, formats, views
from lft_ray.report.formats import Naming
from lft_ray.selection.reason import cascade_sentence, metric_name

__all__ = ["ReportJob", "render"]


@dataclass(frozen=True, slots=True)
class ReportJob:
    """What a report tells of: the files of a run folder.

    Attributes:
        name: of the run.
        run_uri: its folder, as the user would type it.
        candidates: what might have been trained and served.
        money: what the run may spend, and what its endpoint is bought for.
        dataset: what ``prepare`` made of the data.
        profiles: measured serving profiles, or None before they are.
        records: the ledger, in any order.
        selection: the decision, or None before it.
        environment: versions and machine, nested at will.
        stage_seconds: stage -> wall seconds.
        cascades: pairs of trials that were put together.
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


def render(job: ReportJob) -> str:
    """Render the report of a study.

    Returns:
        An HTML document under 6 MB that opens from a file, offline.
    """
    records, selection, profiles, money = job.records, job.selection, job.profiles, job.money
    front, curves = views.front_data(records, selection, job.cascades), views.curve_data(records)
    return _template().render(
        name=job.name,
        candidates=job.candidates,
        search=money.search,
        selection=selection,
        dataset=job.dataset,
        metric=metric_name(job.candidates.task.metric),
        variant=Naming(records),
        counts={status.value: sum(r.status is status for r in records) for status in TrialStatus},
        trial_total=len(records),
        comparison=views.comparison(records, selection),
        finalists=views.finalist_rows(selection),
        ladder=views.ladder_rows(records, selection),
        trials=views.trial_rows(records),
        cost=costs.cost_view(money, profiles, records),
        break_even=break_even_of(money.month, profiles, selection, records),
        monthly=costs.winner_monthly(money.month, profiles, selection),
        commands=costs.commands(job.run_uri, job.name),
        front=front,
        cascades=[cascade_sentence(cascade) for cascade in job.cascades],
        curves=curves,
        chart_json=_script_json({"front": front, "curves": curves}),
        data=costs.data_view(job.dataset),
        confusion=costs.confusion_rows(selection, job.dataset.labels),
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
    for name in ("score", "usd", "duration", "milliseconds", "count", "percent", "learning_rate"):
        environment.filters[name] = getattr(formats, name)
    environment.globals["dash"] = formats.DASH
    # These three are ours or the charting library's, never a user's: the only unescaped texts.
    environment.globals["style"] = Markup(folder.joinpath("style.css").read_text(encoding="utf-8"))
    environment.globals["script"] = Markup(folder.joinpath("report.js").read_text(encoding="utf-8"))
    environment.globals["plotly_js"] = Markup(get_plotlyjs())
    return environment.get_template("template.html.j2")


def _script_json(value: Any) -> Markup:
    """JSON that cannot end the script element it stands in, whatever a label is called."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return Markup(text)
