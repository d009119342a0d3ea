import importlib
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from lft_ray.records import FrontPoint

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def live_search(monkeypatch):
    """The script, imported as it is run: beside its own folder."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("live_search")


def point(usd, f1):
    return FrontPoint(
        trial_id="t000",
        model_size="minilm:1",
        precision="fp32",
        max_length=128,
        f1=f1,
        usd_per_million_predictions=usd,
    )


GOOD = [point(0.05, 0.88), point(0.2, 0.92)]
POOR = [point(0.1, 0.85)]


def test_regret_is_measured_against_the_best_of_all_searches(live_search):
    found = live_search.regrets({"ours": [GOOD, POOR], "theirs": [POOR, []]})
    assert found["ours"][0] == pytest.approx(0.0)
    assert found["ours"][1] == found["theirs"][0] > 0.2
    assert found["theirs"][1] == 1.0, "a search that found nothing has all of the regret"


def test_nothing_found_at_all_is_said_so(live_search):
    with pytest.raises(SystemExit, match="raise --minutes"):
        live_search.regrets({"ours": [[]], "theirs": [[]]})


def test_each_search_is_a_staircase_in_its_methods_colour(live_search):
    drawn = ElementTree.fromstring(live_search.draw_fronts({"ours": [GOOD, POOR], "theirs": [POOR]}))
    lines = [line for line in drawn.iter() if line.tag.endswith("polyline")]
    assert [line.get("stroke") for line in lines] == ["#0b7285", "#0b7285", "#c2410c"]
    corners = [tuple(map(float, corner.split(","))) for corner in lines[0].get("points").split()]
    assert len(corners) == 3
    assert corners[0][1] == corners[1][1] > corners[2][1]
    assert [text.text for text in drawn.iter() if text.get("font-weight") == "700"] == ["ours", "theirs"]
