import io
import re
import threading
import time

import pytest
from rich.console import Console

from lft_ray.cost.budget import Budget
from lft_ray.records import CurvePoint, Usage
from lft_ray.report.live import LiveTable, busy_text
from lft_ray.run.ledger import StartedTrial
from tests.report.builders import record, records, with_variants


class Terminal(io.StringIO):
    def isatty(self):
        return True


def console(out):
    return Console(file=out)


def test_plain_output_has_one_line_a_finished_trial_and_no_control_codes():
    out = io.StringIO()
    with LiveTable(8, budget_usd=2.0, minutes=25, console=console(out)) as table:
        for item in records():
            table.trial_started(item.trial_id, item.config)
            table.trial_ended(item)
    lines = out.getvalue().splitlines()
    assert "\x1b" not in out.getvalue()
    assert lines[0].startswith("0 of 8 trials | $0 of $2.00 | ")
    assert lines[0].endswith("| waiting for the first trial to start")
    assert lines[2].startswith("t2 minilm:3 done F1 0.9120 $0.0428 per million lr 3.0e-5 batch 16 epochs 2")
    assert any(line.startswith("t4 minilm:6 stopped") and line.endswith("(deadline)") for line in lines)
    assert "F1" not in next(line for line in lines if line.startswith("t4"))
    assert lines[-1].startswith("8 of 8 trials | $0.00800 of $2.00 | ")
    assert lines[-1].endswith("best F1 0.9150")
    assert len(lines) == 10


def test_silence_is_broken_with_what_it_waits_for():
    out = io.StringIO()
    with LiveTable(4, console=console(out), progress_interval_s=0.05) as table:
        table.trial_started("t1", record("t1", "minilm:3").config)
        table.trial_progress("t1", 0.5, 0.8)
        deadline = time.monotonic() + 30
        while "running t1 minilm:3 50%" not in out.getvalue() and time.monotonic() < deadline:
            time.sleep(0.01)
        table.note("waiting for 2 CPUs, the cluster has 1")
    assert "running t1 minilm:3 50%" in out.getvalue()
    assert out.getvalue().count("waiting for 2 CPUs, the cluster has 1") >= 1


def test_a_note_is_said_once():
    out = io.StringIO()
    with LiveTable(4, console=console(out)) as table:
        for _ in range(3):
            table.note("waiting for 2 CPUs")
    assert out.getvalue().count("waiting for 2 CPUs") == 1


def test_no_color_means_plain_lines_on_a_terminal_too(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    assert not LiveTable(1, console=console(Terminal())).is_live


def test_a_terminal_gets_a_table(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "120")
    out = Terminal()
    table = LiveTable(3, budget_usd=1.0, console=console(out))
    assert table.is_live
    with table:
        table.trial_started("t1", record("t1", "minilm:3").config, usd_per_million=0.04)
        table.trial_progress("t1", 0.25, 0.7, training_usd=0.002)
        table.trial_ended(record("t2", "tfidf"))
    text = out.getvalue()
    assert "minilm:3" in text
    assert "25%" in text
    assert "running" in text
    assert "1 of 3 trials" in text


def test_many_trials_do_not_overflow_the_terminal(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("LINES", "20")
    out = Terminal()
    with LiveTable(200, console=console(out)) as table:
        for i in range(150):
            table.trial_ended(record(f"t{i:03d}", "tfidf"))
        table.trial_started("t150", record("t150", "tfidf").config)
    last = out.getvalue().rsplit("earlier trials not shown", 1)
    assert last[0].endswith("137 ")
    assert "t150" in last[1]


def test_events_may_come_from_many_threads():
    out = io.StringIO()
    with LiveTable(40, console=console(out)) as table:

        def work(i):
            item = record(f"t{i}", "minilm:3")
            table.trial_started(item.trial_id, item.config)
            table.trial_progress(item.trial_id, 0.5)
            table.trial_ended(item)

        threads = [threading.Thread(target=work, args=(i,)) for i in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert "40 of 40 trials | $0.0400 spent" in out.getvalue().splitlines()[-1]


def test_an_unknown_trials_progress_is_ignored():
    out = io.StringIO()
    with LiveTable(1, console=console(out), progress_interval_s=0.05) as table:
        table.trial_progress("t9", 0.5, f1=0.9)
        begun = len(out.getvalue())
        deadline = time.monotonic() + 30
        while len(out.getvalue()) == begun and time.monotonic() < deadline:
            time.sleep(0.01)
    first, *ticks, last = out.getvalue().splitlines()
    assert ticks
    assert all(line.endswith("waiting for the first trial to start") for line in (first, *ticks))
    assert last.startswith("0 of 1 trials | ")
    assert "t9" not in out.getvalue()
    assert "F1" not in out.getvalue()


def test_it_listens_to_a_study():
    out = io.StringIO()
    item = record("t1", "minilm:3")
    with LiveTable(1, console=console(out), progress_interval_s=0.05) as table:
        table.on_start(StartedTrial(trial_id="t1", number=0, config=item.config))
        table.on_point("t1", CurvePoint(fraction=0.5, f1=0.8, loss=0.4, train_s=1.0))
        deadline = time.monotonic() + 30
        while "t1 minilm:3 50%" not in out.getvalue() and time.monotonic() < deadline:
            time.sleep(0.01)
        table.on_record(item)
    assert "running t1 minilm:3 50%" in out.getvalue()
    assert "t1 minilm:3 done F1 0.9120" in out.getvalue()


def test_without_a_console_it_is_silent(capsys):
    with LiveTable(1, console=None) as table:
        table.trial_ended(record("t1", "tfidf"))
        table.note("waiting")
    assert capsys.readouterr() == ("", "")


def test_of_several_variants_the_reference_is_shown_and_named():
    out = io.StringIO()
    with LiveTable(8, console=console(out)) as table:
        for item in with_variants():
            table.trial_ended(item)
    line = next(line for line in out.getvalue().splitlines() if line.startswith("t2"))
    assert line.startswith("t2 minilm:3 done F1 0.9120 $0.0428 per million (fp32, 128 tokens) lr 3.0e-5")
    assert "tokens" not in next(line for line in out.getvalue().splitlines() if line.startswith("t1"))
    live = LiveTable(8, console=console(Terminal()))
    for item in with_variants():
        live.trial_ended(item)
    screen = io.StringIO()
    Console(file=screen, width=160).print(live._render())
    assert "fp32, 128 tokens" in screen.getvalue()


def lines_of(table_of):
    out = io.StringIO()
    with LiveTable(4, console=console(out), **table_of[0]) as table:
        table_of[1](table)
    return out.getvalue().splitlines()


def test_the_meter_shows_what_is_spent_reserved_kept_and_left():
    budget = Budget(budget_usd=2.0, confirmation_fraction=0.25, started_s=time.time())
    budget.reserve("t2", 0.5)

    def search(table):
        table.on_budget(budget)
        table.on_record(record("t1", "tfidf"))

    last = lines_of(({"budget_usd": 2.0}, search))[-1]
    assert "| $0.00100 of $2.00 | $0.500 reserved, $1.50 left ($0.500 for fresh seeds) |" in last


def test_before_the_study_hands_over_its_budget_what_is_left_is_what_is_not_spent():
    assert "| $0 of $2.00 | $0 reserved, $2.00 left |" in lines_of(({"budget_usd": 2.0}, lambda table: None))[0]


def test_minutes_left_are_those_of_the_budget_on_a_resumed_search():
    budget = Budget(minutes=25, started_s=time.time() - 600)
    last = lines_of(({"minutes": 25}, lambda table: table.on_budget(budget)))[-1]
    # A minute of grace: machines stall.
    assert re.search(r"\| (10|11) min \d\d s of 25 min 00 s, (14|15) min \d\d s left", last)


def test_an_overrun_deadline_leaves_nothing():
    budget = Budget(minutes=1, started_s=time.time() - 600)
    assert "of 1 min 00 s, 0.0 s left" in lines_of(({"minutes": 1}, lambda table: table.on_budget(budget)))[-1]


def test_without_a_budget_the_rate_is_of_this_sessions_trials(monkeypatch):
    monkeypatch.setattr("lft_ray.report.live.RATE_AFTER_S", 0.0)
    earlier, now = record("t1", "tfidf"), record("t2", "minilm:3")

    def search(table):
        table.on_record(earlier)
        table._started_s -= 3600.0
        assert "per hour" not in table._header()
        table.trial_started(now.trial_id, now.config)
        table.on_record(now)

    last = lines_of(({}, search))[-1]
    # A tenth of a cent in the hour, not the two of both sessions.
    rate = float(re.search(r"\$0.00200 spent \(\$(\S+) per hour\)", last)[1])
    assert rate == pytest.approx(0.001, rel=0.1)


def test_a_trial_without_a_worker_waits_and_is_not_shown_as_running():
    out = io.StringIO()
    with LiveTable(4, console=console(out), progress_interval_s=1000.0) as table:
        for trial_id in ("t1", "t2"):
            table.trial_started(trial_id, record(trial_id, "minilm:3").config)
        line = table._progress_line()
        assert "running" not in line
        assert "waiting for a worker: t1 minilm:3, t2 minilm:3 (for " in line
        table.on_placed("t1")
        line = table._progress_line()
        assert "running t1 minilm:3 0% | waiting for a worker: t2 minilm:3 (for " in line
        assert line.startswith("0 of 4 trials")
        table.on_note("t2 minilm:3: out of memory: 2 x 1.0 GB asked, 1.5 GB there; it runs again, alone")
    assert out.getvalue().count("it runs again, alone") == 1


def test_a_trial_that_shared_its_core_with_other_work_says_so():
    starved = record("t1", "minilm:3").replace(usage=Usage(core_s=9.0, wall_s=100.0))
    assert busy_text(starved) == "got 9% of a core: the machine is busy with other work"
    for usage in (
        Usage(core_s=95.0, wall_s=100.0),
        Usage(core_s=9.0, device_s=90.0, wall_s=100.0),
        Usage(core_s=0.1, wall_s=2.0),
        Usage(wall_s=100.0),
    ):
        assert busy_text(starved.replace(usage=usage)) == ""
