"""The two pages, in a real browser if there is one: functions, security policy, and layout on a phone."""

import csv
import json
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lft_ray.serve.http.auth import ApiKeys, hash_keys
from lft_ray.serve.http.pages import DOCS, UI
from tests.serve.browser import browsing
from tests.serve.conftest import make_pair_service, make_question_service
from tests.serve.running import running

WIDE, PHONE = 1200, 400


@pytest.fixture(scope="module")
def live():
    with running() as found:
        yield found


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with browsing(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture(autouse=True)
def _no_complaints(request):
    yield
    if "browser" in request.fixturenames:
        browser = request.getfixturevalue("browser")
        complaints, browser.complaints = browser.complaints, []
        assert [one for one in complaints if "favicon.ico" not in one] == []


@pytest.mark.parametrize("page", [UI, DOCS], ids=["ui", "docs"])
def test_a_page_names_no_other_host_and_lets_in_its_own_script_only(page):
    text = page.body.decode()
    assert not re.search(r"(src|href|url)\s*[=(]\s*[\"']?(https?:)?//", text)
    assert "innerHTML" not in text
    assert " style=" not in text
    assert not re.search(r"\son\w+=", text)
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert len(re.findall(r"'sha256-[A-Za-z0-9+/]{43}='", policy)) == 2


def copied_commands(browser) -> tuple[Any, str]:
    """Run both commands of the page as they stand: the answer to the first, and what the second prints."""
    shell = subprocess.run(["bash", "-c", browser.text("#curl")], capture_output=True, check=True)
    python = [sys.executable, "-c", browser.text("#python")]
    done = subprocess.run(python, capture_output=True, text=True, check=True, env=os.environ.copy())
    return json.loads(shell.stdout), done.stdout


def downloaded(browser, folder: Path, *formats: str) -> list[dict[str, str]]:
    """Download the predictions as files (default: CSV alone). Returns the rows of the CSV file."""
    formats = formats or ("csv",)
    with browser.downloads_to(folder):
        for one in formats:
            browser.click(f"#{one}")
        deadline = time.monotonic() + 30
        while {path.name for path in folder.iterdir()} != {f"predictions.{one}" for one in formats}:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    with (folder / "predictions.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def ask_one(browser, live, text: str, **how) -> None:
    browser.open(f"{live.url}/ui", **how)
    browser.fill("#text", text)
    browser.click("#classify")
    browser.wait("document.querySelector('#message').textContent !== ''")


@pytest.mark.slow
def test_one_text_is_shown_with_bars_latency_and_version(browser, live):
    ask_one(browser, live, "bbb <img src=x onerror=alert(1)>")
    assert browser.run("[...document.querySelectorAll('#bars li span:first-of-type')].map((one) => one.textContent)")[
        0
    ] == ("business")
    widths = browser.run(
        "[...document.querySelectorAll('#bars .fill')].map((one) => one.getBoundingClientRect().width)"
    )
    assert widths == sorted(widths, reverse=True)
    assert widths[0] > 5 * widths[-1]
    assert re.fullmatch(r"\d+ ms, version abc123abc123", browser.text("#message"))
    assert "minilm:1" in browser.text("#model")
    browser.fill("#text", "b " * 50)
    browser.click("#classify")
    browser.wait("document.querySelector('#message').textContent.includes('truncated')")
    browser.fill("#text", " ")
    browser.click("#classify")
    browser.wait("document.querySelector('#message').className === 'bad'")


@pytest.mark.slow
def test_copied_commands_run_as_they_are(browser, live):
    browser.open(f"{live.url}/ui")
    browser.fill("#text", """bb it's "so" $HOME `x` \\ é""")
    told = subprocess.run(shlex.split(browser.text("#curl").replace("\\\n", "")), capture_output=True, check=True)
    assert json.loads(told.stdout)[0][0]["label"] == "business"
    answer, printed = copied_commands(browser)
    assert answer == json.loads(told.stdout)
    assert "LabelScore(label='business'" in printed


@pytest.mark.slow
def test_many_texts_come_back_in_order_and_as_files(browser, live, tmp_path):
    browser.open(f"{live.url}/ui")
    browser.click("#tab-many")
    texts = ["=1+1 b", 'with "quotes", and commas b', *[("b" if number % 2 else "s") * 3 for number in range(300)]]
    browser.fill("#lines", "\n".join([*texts, "", "  "]))
    browser.click("#classify-many")
    browser.wait("document.querySelector('#message-many').textContent.startsWith('302 texts in')")
    assert browser.run("document.querySelectorAll('#rows tr').length") == 302
    if shots := os.environ.get("LFT_SCREENSHOTS"):
        browser.screenshot(Path(shots) / "many.png")
    rows = downloaded(browser, tmp_path, "csv", "json")
    assert [row["text"] for row in rows] == ["'=1+1 b", *texts[1:]]
    told = json.loads((tmp_path / "predictions.json").read_text(encoding="utf-8"))
    assert [one["text"] for one in told] == texts
    assert {one["label"] for one in told[3::2]} == {"business"}
    assert {one["version"] for one in told} == {"abc123abc123"}


@pytest.mark.slow
def test_every_route_of_the_docs_can_be_tried_as_it_stands(browser, live):
    browser.open(f"{live.url}/docs")
    browser.wait("document.querySelectorAll('#routes details').length > 10")
    browser.run("for (const one of document.querySelectorAll('#routes input')) one.value ||= 'abc123abc123'")
    browser.run("for (const one of document.querySelectorAll('#routes button')) one.click()")
    answers = "[...document.querySelectorAll('#routes pre')].map((one) => one.textContent.slice(0, 3))"
    browser.wait(f"{answers}.every((one) => one)")
    assert set(browser.run(answers)) == {"200"}


@pytest.mark.slow
def test_a_key_opens_both_pages(browser):
    with running(ApiKeys(hash_keys("first"))) as live:
        browser.open(f"{live.url}/ui")
        browser.wait("!document.querySelector('#locked').hidden")
        assert "LFT_API_KEY" in browser.text("#curl")
        browser.fill("#key", "first")
        browser.wait("document.querySelector('#model').textContent.includes('minilm:1')")
        browser.fill("#text", "bbb")
        browser.click("#classify")
        browser.wait("document.querySelectorAll('#bars li').length === 3")
        assert "first" not in browser.text("#curl") + browser.text("#python")
        browser.open(f"{live.url}/docs")
        browser.wait("document.querySelector('#problem').textContent.includes('key')")
        browser.fill("#key", "first")
        browser.wait("document.querySelectorAll('#routes details').length > 10")
    # The browser's own log of the 401s before the key was typed.
    browser.complaints = [one for one in browser.complaints if "401" not in one]


@pytest.mark.slow
@pytest.mark.parametrize("width", [WIDE, PHONE])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_pages_fit(browser, live, width, dark):
    shots = os.environ.get("LFT_SCREENSHOTS")
    for name in ("ui", "docs"):
        if name == "ui":
            ask_one(browser, live, "bbb s " * 12, width=width, dark=dark)
        else:
            browser.open(f"{live.url}/docs", width=width, dark=dark)
            browser.wait("document.querySelectorAll('#routes details').length > 10")
        assert browser.run("document.documentElement.scrollWidth <= window.innerWidth"), f"/{name} scrolls sideways"
        assert browser.run("window.innerWidth") == width
        colour = browser.run("getComputedStyle(document.body).backgroundColor")
        assert (colour == "rgb(255, 255, 255)") is not dark
        if shots:
            browser.screenshot(Path(shots) / f"{name}-{width}-{'dark' if dark else 'light'}.png")


# ---------------------------------------------------------------- a model on pairs of texts


@pytest.fixture(scope="module")
def live_pairs():
    with running(make=make_pair_service) as found:
        yield found


def ask_two(browser, live, first: str, second: str, **how) -> None:
    browser.open(f"{live.url}/ui", **how)
    browser.wait("!document.querySelector('#second').hidden")
    browser.fill("#text", first)
    browser.fill("#text-b", second)
    browser.click("#classify")
    browser.wait("document.querySelector('#message').textContent !== ''")


@pytest.mark.slow
def test_a_pair_has_two_fields_and_its_commands_run_as_they_are(browser, live_pairs):
    ask_two(browser, live_pairs, "one", """it's "two" $HOME""")
    assert browser.text("#bars span") == "second"
    answer, printed = copied_commands(browser)
    assert answer[0][0]["label"] == "second"
    assert "LabelScore(label='second'" in printed
    browser.fill("#text-b", " ")
    browser.click("#classify")
    browser.wait("document.querySelector('#message').textContent === 'Enter both texts first.'")


@pytest.mark.slow
def test_many_pairs_are_lines_with_a_tab_or_a_bar(browser, live_pairs, tmp_path):
    browser.open(f"{live_pairs.url}/ui")
    browser.wait("!document.querySelector('#second').hidden")
    browser.click("#tab-many")
    browser.fill("#lines", "one|two three\nfour five\tsix | seven\nonly one")
    browser.click("#classify-many")
    browser.wait("document.querySelector('#message-many').textContent === 'Without a second text: only one | '")
    browser.fill("#lines", "one|two three\nfour five six seven\tsix | eight")
    browser.click("#classify-many")
    browser.wait("document.querySelector('#message-many').textContent.startsWith('2 pairs in')")
    cells = browser.run("[...document.querySelectorAll('#rows td')].map((one) => one.textContent)")
    assert cells[:3] == ["one", "two three", "second"]
    assert cells[4:7] == ["four five six seven", "six | eight", "first"]
    rows = downloaded(browser, tmp_path)
    assert [(row["text_a"], row["text_b"], row["label"]) for row in rows][1] == (
        "four five six seven", "six | eight", "first",
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 360])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_form_for_pairs_fits(browser, live_pairs, width, dark):
    ask_two(
        browser, live_pairs, "Where is my parcel? " * 6, "It left the depot this morning. " * 6, width=width, dark=dark
    )
    assert browser.run("document.documentElement.scrollWidth <= window.innerWidth")
    if shots := os.environ.get("LFT_SCREENSHOTS"):
        browser.screenshot(Path(shots) / f"pairs-{width}-{'dark' if dark else 'light'}.png")
        browser.click("#tab-many")
        browser.fill("#lines", "Where is my parcel?|It left the depot this morning.\nCan I pay later?|We are closed.")
        browser.click("#classify-many")
        browser.wait("document.querySelector('#message-many').textContent.startsWith('2 pairs in')")
        browser.screenshot(Path(shots) / f"pairs-many-{width}-{'dark' if dark else 'light'}.png")


# ---------------------------------------------------------------- a model that answers questions

HOSTILE = '<img src=x onerror=alert(1)> 👋 Ada </mark><b>met</b> "Bob" & left Leeds'


@pytest.fixture(scope="module")
def live_questions():
    with running(make=make_question_service) as found:
        yield found


@pytest.mark.slow
def test_the_answer_is_marked_in_its_context(browser, live_questions):
    ask_two(browser, live_questions, "Leeds Ada", HOSTILE)
    assert browser.text("#marked") == HOSTILE
    assert browser.run("[...document.querySelectorAll('#marked mark')].map((one) => one.textContent)") == ["Ada"]
    assert browser.run("document.querySelectorAll('#marked img, #marked b').length") == 0
    told = "[...document.querySelectorAll('#bars li span:first-of-type')].map((one) => one.textContent)"
    assert browser.run(told) == ["Ada", "Leeds", "(no answer)"]
    assert "answers questions" in browser.text("#model")
    assert browser.text("#classify") == "Answer"
    ask_two(browser, live_questions, "Zoë", HOSTILE)
    assert browser.run("document.querySelectorAll('#marked mark').length") == 0
    assert browser.run(told) == ["(no answer)"]
    browser.fill("#text-b", " ")
    browser.click("#classify")
    browser.wait("document.querySelector('#message').textContent === 'Enter a question and a context first.'")


@pytest.mark.slow
def test_commands_for_a_question_run_as_they_are(browser, live_questions):
    ask_two(browser, live_questions, "Ada", HOSTILE)
    answer, printed = copied_commands(browser)
    assert answer["answer"] == "Ada"
    assert "SpanAnswer(answer='Ada'" in printed


@pytest.mark.slow
def test_many_questions_come_back_as_files(browser, live_questions, tmp_path):
    browser.open(f"{live_questions.url}/ui")
    browser.wait("document.querySelector('#text-b-label').textContent === 'Context'")
    browser.click("#tab-many")
    browser.fill("#lines", "Ada|👋 Ada met Bob\nonly a question")
    browser.click("#classify-many")
    browser.wait("document.querySelector('#message-many').textContent.startsWith('Without a context: only a')")
    browser.fill("#lines", "Ada|👋 Ada met Bob\nBob\tAda met Bob | once\nZoë|Ada")
    browser.click("#classify-many")
    browser.wait("document.querySelector('#message-many').textContent.startsWith('3 questions in')")
    rows = downloaded(browser, tmp_path)
    assert [(row["question"], row["answer"], row["start"], row["end"]) for row in rows] == [
        ("Ada", "Ada", "2", "5"),
        ("Bob", "Bob", "8", "11"),
        ("Zoë", "", "0", "0"),
    ]
    assert rows[1]["context"] == "Ada met Bob | once"


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 360])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_form_for_questions_fits(browser, live_questions, width, dark):
    context = "It left the depot this morning. " * 3 + "It is in Leeds now, and Ada has it."
    ask_two(browser, live_questions, "Leeds now, Ada", context, width=width, dark=dark)
    assert browser.run("document.documentElement.scrollWidth <= window.innerWidth")
    if shots := os.environ.get("LFT_SCREENSHOTS"):
        browser.screenshot(Path(shots) / f"questions-{width}-{'dark' if dark else 'light'}.png")
