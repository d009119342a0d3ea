import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest

from lft_ray.candidates import Candidates
from lft_ray.records import PrecisionCheck
from lft_ray.report.formats import DASH
from lft_ray.report.html import ReportJob, render
from lft_ray.selection.decide import decide
from tests import handed_down
from tests.report.builders import HOSTILE, dataset, experiment, panels, profiles, records, selection, with_variants

VOID = {"meta", "link", "br", "input", "img"}


class Page(HTMLParser):
    """Collects tags, texts by element id and anything that would leave the file."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.ids, self.links, self.outside, self.scripts, self.text = [], set(), set(), [], 0, []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.scripts += tag == "script"
        if "id" in values:
            assert values["id"] not in self.ids, values["id"]
            self.ids.add(values["id"])
        for name in ("src", "href", "srcset", "action"):
            value = values.get(name) or ""
            if value.startswith("#"):
                self.links.add(value[1:])
            elif value and not value.startswith("data:"):
                self.outside.append(value)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open, f"stray </{tag}>"
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("script", "style"):
            self.text.append(data)


def make(**change):
    found = change.pop("experiment", None) or experiment()
    parts = {
        "name": found.name, "run_uri": found.run_uri, "candidates": Candidates.of(found),
        "money": handed_down.money(found), "dataset": dataset(), "profiles": profiles(), "records": records(),
        "selection": selection(), "environment": {"python": "3.11", "packages": {"ray": "2.60"}},
        "stage_seconds": {"search": 71.0},
    }  # fmt: skip
    return render(ReportJob(**{**parts, **change}))


@pytest.fixture(scope="module")
def full():
    return make()


def test_it_says_how_a_precision_was_checked():
    checks = [
        PrecisionCheck(trial_id="t1", model_size="<b>", precision="int8", max_length=64, reason="int8 of <b> differs"),
        PrecisionCheck(
            trial_id="t2", model_size="m:1", precision="int8", max_length=64, passed=True, reason="int8 fits"
        ),
    ]
    html = make(selection=selection().model_copy(update={"precision_checks": checks}))
    assert "Refused: int8 of &lt;b&gt; differs." in html
    assert "Checked: int8 fits." in html


def body(text):
    return re.sub(r"(?s)<(script|style).*?</\1>", "", text)


def test_it_is_one_file_below_six_megabytes_that_asks_for_nothing_else(full):
    assert len(full.encode()) < 6_000_000
    page = Page(full)
    assert page.open == []
    assert page.outside == []
    assert page.links <= page.ids
    assert "@import" not in full.split("</style>")[0]


def test_the_verdict_and_the_test_score_stand_first(full):
    text = " ".join("".join(Page(full).text).split())
    assert selection().reason in text
    assert text.index("Test macro-F1") < text.index("Cost and quality")
    assert "0.9071" in text


def test_how_sure_the_verdict_is_stands_beside_it(full):
    text = " ".join("".join(Page(full).text).split())
    assert "Confidence" in text
    assert "Verdict: unconfirmed." in text
    assert "no bounds were computed, since not all runs have saved predictions" in text
    choice = selection()
    judged = [p.model_copy(update={"loss_upper": 0.0123, "standing": "proven"}) for p in choice.judged[:1]]
    update = {"judged": judged + choice.judged[1:], "validation_rows": 2038, "rows_needed": 5100}
    bounded = " ".join("".join(Page(make(selection=choice.model_copy(update=update))).text).split())
    assert "1.23+3.1–within the margin" in bounded  # noqa: RUF001
    assert "about 5,100 validation rows would be needed to prove it" in bounded
    assert "over 2,038 validation rows and over seeds" in bounded


def test_charts_have_table_twins_and_the_library_is_there_once(full):
    assert full.count('id="front-chart"') == full.count('id="curves-chart"') == 1
    assert body(full).count("<details>") == 2
    assert full.count("plotly.js v") == 1
    assert Page(full).scripts == 3


def test_hostile_texts_are_shown_not_run(full):
    assert "alert(1)</script>" not in full
    assert HOSTILE in "".join(Page(full).text)


def test_only_finished_trials_have_a_score(full):
    rows = {m[1]: m[0] for m in re.finditer(r'<tr[^>]*><th scope="row" data-v="(t\d|c\d)">.*?</tr>', full)}
    assert set(rows) == {"t1", "t2", "t3", "t4", "t5", "t6", "c1", "c2"}
    cells = {k: re.findall(r'<td data-v="([^"]*)"', v) for k, v in rows.items()}
    assert cells["t2"][3] == "0.912"
    assert cells["t4"][3] == cells["t5"][3] == cells["t6"][3] == ""
    assert cells["t1"][0] == ""
    # An infeasible trial that never trained has no time and no dollars either.
    assert cells["t5"][7:] == ["", "", ""]
    assert "fresh seed of t2" in rows["c1"]
    points = re.search(r'id="report-data">(.*?)</script>', full)[1]
    assert '"trial":"t4","size":"minilm:6","usd"' not in points


def test_what_was_not_measured_is_a_dash():
    choice = selection()
    unmeasured = choice.model_copy(
        update={
            "test_f1": None, "test_rows": 0, "test_metrics": {}, "panels": [],
            "winner": choice.winner.model_copy(update={"p95_ms": None}),
        }
    )  # fmt: skip
    text = " ".join("".join(Page(make(selection=unmeasured)).text).split())
    assert "no test split" in text
    assert f"p95 latency{DASH}" in text
    assert "nan" not in text.lower()
    assert "None" not in text


def test_it_renders_before_the_first_trial_and_before_the_decision():
    early = " ".join("".join(Page(make(selection=None)).text).split())
    assert "No winner yet: 5 of 8 trials are done." in early
    empty = make(selection=None, records=[], profiles=None, environment={}, stage_seconds={})
    assert "No trial has finished yet." in body(empty)
    assert Page(empty).open == []


def test_the_confusion_matrix_is_left_out_where_there_is_none():
    multilabel = selection().model_copy(update={"panels": panels()[:1]})
    assert "Confusion matrix" not in make(selection=multilabel)
    assert "Confusion matrix" in make()


def test_commands_name_the_run_folder(full):
    text = "".join(Page(full).text)
    assert "lft leaderboard runs/news" in text
    assert "lft search runs/news/experiment.yaml --set name=news-again" in text


@pytest.mark.slow
def test_a_browser_draws_the_charts_from_a_file_without_any_complaint(full, tmp_path):
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium or chrome on this machine")
    (tmp_path / "report.html").write_text(full, encoding="utf-8")
    options = [
        "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync", f"--user-data-dir={tmp_path / 'profile'}",
        "--enable-logging=stderr", "--virtual-time-budget=4000", "--window-size=400,900", "--dump-dom",
    ]  # fmt: skip
    done = subprocess.run(
        [browser, *options, (tmp_path / "report.html").as_uri()], capture_output=True, text=True, timeout=90, check=True
    )
    assert done.stdout.count("main-svg") >= 2
    assert "The chart needs JavaScript" not in done.stdout
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []


def test_points_say_how_they_are_served_where_several_ways_are_offered():
    choice = decide(with_variants(), experiment().selection, experiment().cost)
    several = " ".join(Page(make(records=with_variants(), selection=choice)).text)
    assert f"served at fp32, {choice.winner.max_length} tokens" in several
    assert "t2, fp32, 32 tokens" in several or "t3, fp32, 32 tokens" in several
    assert "Of several variants the first is shown: fp32, 128 tokens." in several
    one = " ".join(Page(make()).text)
    assert "served at" not in one
    assert "Of several variants" not in one


def test_it_says_whether_the_search_pays(full):
    text = " ".join("".join(Page(full).text).split())
    assert "Does it pay?" in text
    assert "one running replica sets the price of both" in text
    assert "never at this traffic" in text
    undecided = " ".join("".join(Page(make(selection=None)).text).split())
    assert "There is no winner yet." in undecided


def test_a_search_that_pays_says_after_how_many_predictions():
    spec = experiment()
    autoscaling = spec.serve.autoscaling.model_copy(update={"min_replicas": 0})
    served = spec.model_copy(update={"serve": spec.serve.model_copy(update={"autoscaling": autoscaling})})
    text = " ".join("".join(Page(make(experiment=served)).text).split())
    assert re.search(r"minilm:3 saves \$\S+ a month over minilm:6 \(the largest finalist\)", text)
    assert re.search(r"which is recovered after [\d,]+ predictions", text)
