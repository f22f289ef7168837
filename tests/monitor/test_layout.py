"""The layout: exact to the cell for any run, any view and any size, and what it says."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
import urwid
from hypothesis import given
from hypothesis import strategies as st

from engine import JobReady, JobStopping, Message, RunStopping, State, StopReason
from monitor import layout, states
from monitor.keys import KEYS
from monitor.listing import BIG, PAUSE, Sort
from monitor.model import Model
from monitor.panes import LINES
from monitor.rows import Row, row_text
from monitor.style import UNICODE
from monitor.view import Pane, View

from .stories import START, WALL, Story, any_texts, row, stories


@pytest.fixture(autouse=True)
def _in_utc() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


def compose(story: Story, view: View, columns: int = 80, rows: int = 24) -> list[Row]:
    wall = WALL + story.now - START
    return layout.compose(story.model, view, columns, rows, now=story.now, wall=wall)


def text(story: Story, view: View | None = None, columns: int = 80, rows: int = 24) -> list[str]:
    return [row_text(line) for line in compose(story, view or View(), columns, rows)]


def names(story: Story, view: View) -> list[str]:
    """Return what the name column says, from top to bottom."""
    cells = [line.split("│") for line in text(story, view, 100, 24)]
    found = [cell[2].strip() for cell in cells if len(cell) > 4]
    return [name for name in found[1:] if name]


def lab() -> Story:
    """Tell the run of the picture in the documentation."""
    jobs = [
        row("1", "boot node17"),
        row("2", "load node22"),
        row("3", "load node01"),
        row("4", "run iperf"),
        row("5", "tcpdump gw", forever=True),
        row("6", "ready node03"),
        row("7", "conf node01", requires=("3",)),
        row("8", "load node02"),
        row("9", "run exp-A", requires=("3", "8", "7")),
        row("10", "conf node17", requires=("1",)),
        row("11", "load node09"),
        row("12", "load node10"),
    ]
    story = Story(*jobs, label="deploy-lab", window=4)
    story.to(State.RUNNING, "1", "5", "11", "12").later(31).to(State.FINISHED, "11", "12")
    story.later(31).move("1", State.FAILED, reason="rc=255 ssh: connect timed out")
    story.move("10", State.SKIPPED, reason="boot node17 failed").to(State.RUNNING, "2")
    story.tell(JobReady, job="5")
    story.output("5", "12301 packets").later(40).move("2", State.FAILED, reason="TimeoutError")
    story.to(State.RUNNING, "3", "8").to(State.SCHEDULED, "6").later(3).to(State.RUNNING, "4")
    story.progress("3", percent=55.0, message="writing sda2")
    return story.output("4", "[ 5] 3.00-4.00 sec 112 MBytes 941 Mbits/s").later(9)


def test_the_screen_at_80x24() -> None:
    assert text(lab(), View(), 80, 17) == [
        "┌ deploy-lab ────────────────────────────────────────────── 22:15:14  +01m54s ─┐",
        "│ 2/11 done  3 run  1 ready  2 wait  2 FAIL  1 skip  █████████░░░░░░░░░░░░ 45% │",
        "├────────┬───────────────┬─────────────────────────────────────────────────────┤",
        "│ time   │ job           │ status                                              │",
        "│  1m02s │✗ boot node17  │ FAILED rc=255 ssh: connect timed out                │",
        "│    40s │✗ load node22  │ FAILED TimeoutError                                 │",
        "│   +12s │▶ load node01  │ █████████░░░░░░░░░  55%  writing sda2               │",
        "│   +12s │▶ load node02  │ running                                             │",
        "│    +9s │▶ run iperf    │ [ 5] 3.00-4.00 sec 112 MBytes 941 Mbits/s           │",
        "│ +1m54s │∞ tcpdump gw   │ forever, ready   12301 packets                      │",
        "│        │= ready node03 │ queued                                              │",
        "│        │· conf node01  │ waits for load node01 (55%)                         │",
        "│        │· run exp-A    │ waits for 3: load node01, load node02, +1           │",
        "│        │- conf node17  │ skipped: boot node17 failed                         │",
        "│    31s │✓ load node09  │ done                                                │",
        "│    31s │✓ load node10  │ done                                                │",
        "└ ? help  / filter  s sort  ⏎ log  w why  x cancel  S stream  q leave ─────────┘",
    ]


def test_the_screen_in_ascii() -> None:
    assert text(lab(), View(ascii_only=True), 80, 12) == [
        "+ deploy-lab ---------------------------------------------- 22:15:14  +01m54s -+",
        "| 2/11 done  3 run  1 ready  2 wait  2 FAIL  1 skip  #########------------ 45% |",
        "+--------+---------------+-----------------------------------------------------+",
        "| time   | job           | status                                             #|",
        "|  1m02s |X boot node17  | FAILED rc=255 ssh: connect timed out               #|",
        "|    40s |X load node22  | FAILED TimeoutError                                #|",
        "|   +12s |> load node01  | #########---------  55%  writing sda2              #|",
        "|   +12s |> load node02  | running                                            #|",
        "|    +9s |> run iperf    | [ 5] 3.00-4.00 sec 112 MBytes 941 Mbits/s          ||",
        "| +1m54s |~ tcpdump gw   | forever, ready   12301 packets                     ||",
        "|        |= ready node03 | queued                                             v|",
        "+ ? help  / filter  s sort  Enter log  w why  x cancel  S stream  q leave -----+",
    ]


@st.composite
def views(draw: st.DrawFn, story: Story) -> View:
    jobs = list(story.model.rows)
    return View(
        ascii_only=draw(st.booleans()),
        cursor=draw(st.none() | st.sampled_from([*jobs, "gone", ""])),
        top=draw(st.integers(0, 20)),
        filter=draw(st.just("") | any_texts() | st.sampled_from(["state:failed", 'name~"'])),
        typing=draw(st.booleans()),
        sort=draw(st.sampled_from(Sort)),
        folded=draw(st.sets(st.sampled_from(jobs))) if jobs else set(),
        done_open=draw(st.booleans()),
        pane=draw(st.none() | st.sampled_from(Pane)),
        in_pane=draw(st.booleans()),
        pane_top=draw(st.integers(0, 50)),
        follow=draw(st.booleans()),
        question=draw(st.just("") | any_texts()),
        notice=draw(st.just("") | any_texts()),
    )


@given(st.data(), stories(), st.integers(1, 220), st.integers(1, 60))
def test_every_row_is_exact_to_the_cell(
    data: st.DataObject, story: Story, columns: int, rows: int
) -> None:
    view = data.draw(views(story))
    for _ in range(2):  # what the first frame told the view must not spoil the second
        frame = compose(story, view, columns, rows)
        assert len(frame) == rows
        for line in frame:
            told = row_text(line)
            assert urwid.calc_width(told, 0, len(told)) == columns
            assert all(attribute in layout.ATTRIBUTES for attribute, _ in line)
            assert told.isprintable()
            assert not view.ascii_only or told.isascii()


@given(stories(), st.integers(0, 12), st.lists(st.integers(-3, 3), max_size=8))
def test_the_cursor_is_always_on_a_row_that_is_drawn(
    story: Story, rows: int, moves: list[int]
) -> None:
    view = View()
    for move in moves:
        compose(story, view, 80, 6 + rows)
        view.move(move)
        frame = compose(story, view, 80, 6 + rows)
        marked = [line for line in frame if any(attribute == "cursor" for attribute, _ in line)]
        assert len(marked) == bool(story.model.rows)


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        (30, "128/400 12run 2FAIL 32%"),
        (23, "128/400 12run 2FAIL 32%"),
        (22, "128/400 12run 2FAIL"),
        (18, "128/400 2FAIL"),
        (12, "2FAIL"),
        (4, "✗"),
        (1, "✗"),
    ],
)
def test_a_small_screen_has_one_line(columns: int, told: str) -> None:
    story = Story(*(row(str(number)) for number in range(1, 401)))
    ids = list(story.model.rows)
    story.to(State.FINISHED, *ids[:128]).to(State.FAILED, *ids[128:130])
    story.to(State.RUNNING, *ids[130:142])
    frame = text(story, View(), columns, 3)
    assert [line.rstrip() for line in frame] == [told, "", ""]


def test_a_small_screen_shows_what_is_asked() -> None:
    view = View(question="cancel job1?  y / n")
    assert text(Story(row("1")), view, 30, 2)[1].rstrip() == "cancel job1?  y / n"
    assert text(Story(row("1")), view, 30, 1) == ["cancel job1?  y / n".ljust(30)]


def test_more_detail_goes_first_from_the_line_of_the_run() -> None:
    story = lab()
    told = {columns: text(story, View(), columns, 10)[1][2:-2] for columns in (60, 50, 40)}
    assert told[60] == "2/11 done  3 run  1 ready  2 wait  2 FAIL  1 skip    45%"
    assert told[50] == "2/11 done  3 run  1 ready  2 FAIL  1 skip  45%"
    assert told[40] == "2/11 done  3 run  2 FAIL  ██░░░░ 45%"


def test_the_cursor_stays_on_its_job_while_rows_move() -> None:
    story = Story(*(row(str(number)) for number in range(1, 41)))
    view = View()
    compose(story, view)
    view.move(5)
    assert view.chosen == "6"
    story.to(State.RUNNING, "20", "21", "22").to(State.FAILED, "30")
    compose(story, view)
    assert view.chosen == "6"
    assert view.place == 9
    story.to(State.FINISHED, "6")
    compose(story, view)
    assert view.chosen == "6"


def test_home_stays_with_the_first_row() -> None:
    story = Story(row("1"), row("2"), row("3"))
    view = View()
    compose(story, view)
    view.move(2)
    view.home()
    story.to(State.RUNNING, "2")
    compose(story, view)
    assert view.chosen == "2"


def test_rows_that_scroll_keep_their_place_until_the_cursor_leaves_the_screen() -> None:
    story = Story(*(row(str(number)) for number in range(1, 101)))
    view = View()
    compose(story, view)
    view.end()
    compose(story, view)
    assert (view.chosen, view.top) == ("100", 100 - view.page)
    top = view.top
    view.move(-(view.page - 1))
    compose(story, view)
    assert view.top == top
    view.move_pages(-1)
    compose(story, view)
    assert view.top == view.place


def test_finished_jobs_give_way_when_there_is_no_room() -> None:
    story = Story(*(row(str(number)) for number in range(1, 31)))
    story.to(State.FINISHED, *map(str, range(11, 31)))
    view = View()
    assert names(story, view)[-1] == "✓ 20 done"
    assert len(view.shown) == 11
    view.end()
    view.fold(story.model)
    compose(story, view)
    assert view.shown[10:13] == ["", "11", "12"]
    view.fold(story.model)
    compose(story, view)
    assert len(view.shown) == 11


def test_a_job_under_the_cursor_keeps_its_row_when_the_finished_ones_give_way() -> None:
    story = Story(*(row(str(number)) for number in range(1, 31)))
    view = View(cursor="5")
    story.to(State.FINISHED, *map(str, range(1, 21)))
    compose(story, view)
    assert view.shown[-2:] == ["", "5"]
    assert view.chosen == "5"


def test_the_cursor_goes_to_the_row_that_came_to_the_place_of_its_job() -> None:
    story = Story(row("1", "a"), row("2", "b"), row("3", "a"), row("4", "a"))
    view = View(cursor="2")
    compose(story, view)
    view.type("a")
    compose(story, view)
    assert view.chosen == "3"


def test_order_by_state() -> None:
    story = Story(
        row("1"),
        row("2", requires=("1", "7")),
        row("3", requires=("1",)),
        row("4", forever=True),
        *(row(str(number)) for number in range(5, 12)),
    )
    story.to(State.FINISHED, "5").later(1).to(State.FINISHED, "6")
    story.to(State.RUNNING, "7", "4").later(1).to(State.RUNNING, "1").to(State.SCHEDULED, "8")
    story.to(State.FAILED, "9").to(State.SKIPPED, "10").to(State.CANCELLED, "11")
    view = View()
    compose(story, view)
    assert view.shown == ["9", "7", "1", "4", "8", "3", "2", "10", "11", "6", "5"]


def test_other_orders() -> None:
    story = Story(row("1", "c"), row("2", "a"), row("3", "B"))
    story.to(State.FINISHED, "1").to(State.RUNNING, "2").later(9).to(State.FINISHED, "2")
    view = View()
    told = {}
    for _ in Sort:
        compose(story, view)
        told[view.sort] = view.shown
        view.next_sort()
    assert told == {
        Sort.STATE: ["3", "2", "1"],
        Sort.ORDER: ["1", "2", "3"],
        Sort.NAME: ["2", "3", "1"],
        Sort.TIME: ["2", "1", "3"],
    }
    assert view.sort is Sort.STATE


def groups() -> Story:
    jobs = [row("1"), row("2", "site"), row("2.1"), row("2.2"), row("2.2.1"), row("3")]
    return Story(*jobs)


def test_members_are_under_their_group_and_fold() -> None:
    story = groups().to(State.RUNNING, "2", "2.1").to(State.FAILED, "2.2.1")
    view = View()
    assert names(story, view) == [
        "✗ ▾ site",
        "✗   ▾ job2.2",
        "✗     job2.2.1",
        "▶   job2.1",
        "· job1",
        "· job3",
    ]
    view.cursor = "2.1"
    compose(story, view)
    view.fold(story.model)  # on a member: its group
    assert names(story, view) == ["✗ ▸ site", "· job1", "· job3"]
    assert view.chosen == "2"
    view.fold(story.model)
    assert len(names(story, view)) == 6


def test_the_name_of_a_group_has_room_for_its_mark() -> None:
    story = Story(row("1", "node10"), row("1.1", "put"))
    assert names(story, View()) == ["· ▾ node10", "·   put"]


def test_a_group_tells_the_counts_of_its_members() -> None:
    story = groups().to(State.RUNNING, "2", "2.1").to(State.FAILED, "2.2.1")
    line = next(line for line in text(story) if "site" in line)
    assert "0/2 done  1 run  1 FAIL" in line


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("node1", ["load node1", "boot node1"]),
        ("NAME~node1 load", ["load node1"]),
        ("name:load", ["load node1", "load node2"]),
        ("state:failed", ["boot node2"]),
        ("state:f", ["boot node2", "boot node1"]),
        ("state:failed node1", []),
        ("host~gw", ["boot node1"]),
        ('"load node2"', ["load node2"]),
        ('"load node', ["load node1", "load node2"]),
        ("kind:ssh", ["load node1"]),
        ("id:3", ["boot node1"]),
        ("eth0:1", []),
    ],
)
def test_filters(typed: str, expected: list[str]) -> None:
    story = Story(
        row("1", "load node1", kind="SshJob"),
        row("2", "load node2"),
        row("3", "boot node1", host="gw.lab"),
        row("4", "boot node2"),
    )
    story.to(State.FINISHED, "3").to(State.FAILED, "4")
    view = View(filter=typed)
    compose(story, view)
    assert [story.model.rows[job].label for job in view.shown] == expected


def test_a_filter_shows_the_groups_of_what_it_finds() -> None:
    view = View(filter="2.2.1")
    compose(groups(), view)
    assert view.shown == ["2", "2.2", "2.2.1"]


def test_a_filter_acts_while_it_is_typed_and_tells_what_cannot_be() -> None:
    story = lab()
    view = View()
    view.type_filter()
    for char in "state:fault":
        view.type(char)
    bottom = text(story, view, 120)[-1]
    assert "/state:fault" in bottom
    assert "no state 'fault', there are: idle, scheduled, running" in bottom
    view.erase()
    view.erase()
    view.erase()
    compose(story, view)
    assert len(view.shown) == 2
    view.keep_filter()
    assert "/state:fa" in text(story, view)[-1]
    assert view.close()
    compose(story, view)
    assert len(view.shown) == 12
    assert not view.close()


def test_the_next_failure_goes_round() -> None:
    story = Story(*(row(str(number)) for number in range(1, 6))).to(State.FAILED, "2", "4")
    view = View(sort=Sort.ORDER)
    compose(story, view)
    found = [view.chosen for _ in range(3) if view.next_failure(story.model)]
    assert found == ["2", "4", "2"]
    assert view.next_failure(story.model, -1)
    assert view.chosen == "4"
    assert not View().next_failure(Model())


def test_the_log_follows_until_the_user_scrolls_back() -> None:
    story = Story(row("1")).to(State.RUNNING, "1").output("1", *(f"line {n}" for n in range(50)))
    story.output("1", "last words", stream="stderr")
    view = View()
    view.toggle(Pane.LOG)
    assert any("22:13:20!last words" in line for line in text(story, view))
    assert "log: job1 (follow)" in "".join(text(story, view))
    view.switch()
    view.move(-10)
    story.output("1", "one more")
    told = "".join(text(story, view))
    assert "last words" not in told
    assert "(follow)" not in told
    view.end()
    assert "one more" in "".join(text(story, view))
    assert view.follow


def test_a_long_line_of_the_log_is_told_whole() -> None:
    story = Story(row("1")).to(State.RUNNING, "1")
    story.output("1", "ssh: connect to host node17: timed out", stream="stderr")
    shown = text(story, View(pane=Pane.LOG), 40, 20)
    start = next(place for place, line in enumerate(shown) if line.startswith("├ log"))
    assert shown[start + 1 : start + 3] == [
        "│ 22:13:20!ssh: connect to host        │",
        "│          node17: timed out           │",
    ]


def test_the_log_says_what_it_has_not_kept() -> None:
    story = Story(row("1")).to(State.RUNNING, "1").output("1", *map(str, range(250)))
    view = View(pane=Pane.LOG, in_pane=True)
    compose(story, view)
    view.home()
    assert any("(50 lines before these)" in line for line in text(story, view))


def test_the_pane_that_explains_waiting_goes_down_to_what_runs() -> None:
    story = Story(
        row("1", "gateway"),
        row("2", "boot", requires=("1",)),
        row("3", "load", requires=("2",)),
        row("4", "site", requires=("3",)),
        row("4.1", "measure"),
    )
    story.to(State.RUNNING, "1").progress("1", percent=40.0)
    view = View(pane=Pane.WHY, cursor="4.1")
    told = [line.strip("│ ") for line in text(story, view, 80, 40)]
    start = next(place for place, line in enumerate(told) if "why: site/measure" in line)
    assert told[start + 1 : start + 6] == [
        "· measure: waits for site to start",
        "· site: waits for load",
        "· load: waits for boot",
        "· boot: waits for gateway (40%)",
        "▶ gateway: 40%",
    ]


def why(story: Story, view: View) -> list[str]:
    """Return what the pane says that explains."""
    view.pane = Pane.WHY
    told = [line.strip("│┃▲▼ ") for line in text(story, view, 80, 40)]
    start = next(place for place, line in enumerate(told) if line.startswith("├ why"))
    return list(filter(None, told[start + 1 : -1]))


def test_the_pane_that_explains_waiting_goes_into_a_nested_engine() -> None:
    jobs = [row("1", "site"), row("1.1", "rack"), row("1.1.1", "boot"), row("1.1.2", "load")]
    story = Story(*jobs, row("1.2", "spare"), row("2", "plots", requires=("1",)))
    story.to(State.RUNNING, "1", "1.1", "1.1.2").progress("1.1.2", percent=40.0)
    story.to(State.FINISHED, "1.1.1")
    assert why(story, View(cursor="2")) == [
        "· plots: waits for site (33%)",
        "▶ site: 1/3 done  1 run  1 wait",
        "▶ rack: 1/2 done  1 run",
        "▶ load: 40%",
        "· spare: waits",
    ]


def test_the_pane_that_explains_tells_who_has_the_slots() -> None:
    jobs = [row("1", "first"), row("2", "second", pool="server"), row("3", "third", pool="server")]
    story = Story(*jobs, row("4", "fourth"), window=2)
    story.to(State.RUNNING, "1", "2").to(State.SCHEDULED, "3", "4")
    assert why(story, View(cursor="4")) == [
        "= fourth: queued: window 2/2",
        "▶ first: running",
        "▶ second: running",
    ]
    story.to(State.FINISHED, "1")
    assert why(story, View(cursor="3")) == ["= third: queued: pool server", "▶ second: running"]
    assert why(story, View(cursor="4")) == ["= fourth: queued"]  # a slot is free, it starts now


def test_the_pane_that_explains_tells_a_failure_in_full_and_whom_it_hit() -> None:
    jobs = [row("1", "site"), row("1.1", "boot"), row("2", "load", requires=("1",))]
    story = Story(*jobs, row("3", "plots", requires=("2",)))
    story.to(State.RUNNING, "1", "1.1").output("1.1", "power on", "no link")
    story.to(State.FAILED, "1.1", reason="TimeoutError: " + "no answer " * 12)
    story.to(State.FAILED, "1", reason="EngineFailed: boot failed")
    story.move("2", State.SKIPPED, reason="site failed").move(
        "3", State.SKIPPED, reason="load skipped"
    )
    told = why(story, View(cursor="1.1"))
    assert told[0].startswith("✗ boot: FAILED TimeoutError: no answer")
    assert " ".join(told).count("no answer") == 12
    assert told[-2:] == ["22:13:20 power on", "22:13:20 no link"]
    told = why(story, View(cursor="3"))
    assert told[:2] == ["- plots: skipped: load skipped", "- load: skipped: site failed"]
    assert told[2].startswith("✗ site: 0/1 done  1 FAIL")
    assert told[3].startswith("✗ boot: FAILED no answer")


def test_the_pane_that_explains_waiting_is_bounded_in_a_large_graph() -> None:
    jobs = [row(f"{layer}-{n}") for layer in range(8) for n in range(12)]
    story = Story(
        *(
            row(job.id, requires=tuple(other.id for other in jobs[12 * layer - 12 : 12 * layer]))
            for place, job in enumerate(jobs)
            for layer in [place // 12]
        )
    )
    view = View(pane=Pane.WHY, cursor=jobs[-1].id)
    compose(story, view)
    assert view.pane_lines == LINES


def test_a_pane_hides_the_list_where_there_is_no_room_for_both() -> None:
    story = Story(row("1")).to(State.RUNNING, "1").output("1", *(f"line {n}" for n in range(9)))
    frame = text(story, View(pane=Pane.LOG), 80, 8)
    assert [line[11:17] for line in frame[3:-1]] == ["line 5", "line 6", "line 7", "line 8"]


def test_the_title_of_the_pane_has_the_cursor_when_keys_act_on_it() -> None:
    story, view = lab(), View(pane=Pane.LOG)
    for _ in range(2):
        cursors = [cell for line in compose(story, view) for cell in line if cell[0] == "cursor"]
        assert any("log:" in cell for _, cell in cursors) == view.in_pane
        assert any("boot" in cell for _, cell in cursors)
        view.switch()


def test_the_details_of_a_job() -> None:
    story = lab()
    view = View(cursor="7", pane=Pane.DETAILS)
    told = "\n".join(text(story, view, 80, 40))
    for wanted in ("waits for load node01 (55%)", "conf node01 (Job 7)", "requires  ▶ load node01"):
        assert wanted in told
    assert "allows    · run exp-A" in told


def test_the_details_end_with_the_last_lines_of_output() -> None:
    story = Story(row("1")).to(State.RUNNING, "1").output("1", *(f"line {n}" for n in range(50)))
    told = text(story, View(), 120, 24)
    assert "line 49" in told[-2]
    assert "running" in told[3]


def test_a_bar_has_a_report_beside_it_or_else_the_last_output() -> None:
    story = Story(row("1"), row("2")).to(State.RUNNING, "1", "2")
    story.progress("1", percent=55.0).output("1", "a line").progress("2", message="a report")
    assert "55%  a line" in text(story)[4]
    assert "a report" in text(story)[5]
    story.progress("1", message="writing").output("1", "another line")
    assert "55%  writing " in text(story)[4]


def test_two_panes_from_120_columns_on() -> None:
    frame = text(lab(), View(), 120, 24)
    assert "┬ details: boot node17 ─" in frame[2]
    assert "┬ details" not in text(lab(), View(), 119, 24)[2]


def test_the_help_tells_every_key_and_every_glyph() -> None:
    view = View(pane=Pane.HELP)
    told = "\n".join(text(Story(), view, 80, 60))
    for key in KEYS:
        assert f"{key.shown} " in told
        assert key.help in told
    for look in states.LOOKS:
        assert f"{look.glyph}  {look.word}" in told


def test_the_help_scrolls_where_it_does_not_fit() -> None:
    view = View()
    view.toggle(Pane.HELP)
    first = text(Story(), view, 60, 12)
    view.move_pages(1)
    assert text(Story(), view, 60, 12) != first
    view.toggle(Pane.HELP)
    assert view.pane is None


def test_a_pane_marks_where_there_is_more() -> None:
    view = View()
    view.toggle(Pane.HELP)
    assert [line[-1] for line in text(Story(), view, 60, 12)][3:11] == [*"│" * 7, "▼"]
    view.move(1)
    assert [line[-1] for line in text(Story(), view, 60, 12)][3:11] == ["▲", *"│" * 6, "▼"]
    view.end()
    assert [line[-1] for line in text(Story(), view, 60, 12)][3:11] == ["▲", *"│" * 7]


def test_long_names_are_cut_in_the_middle() -> None:
    story = Story(row("1", "measure-throughput-of-node17-over-ipv6-udp"))
    name = text(story)[4].split("│")[2]
    assert name.startswith("· measure-")
    assert "…" in name
    assert name.endswith("udp ")


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        (
            "ConnectionError: ssh: connect to host node17 port 22: Connection timed out after 20 s",
            "FAILED ConnectionError: … Connection timed out after 20 s",
        ),
        (
            "TransferFailed: node1: /srv/images/fedora.ndz: No such file or directory (local)",
            "FAILED TransferFailed: … No such file or directory (local)",
        ),
        (
            "CommandFailed: node6: python3 netprobe.py udp 127.0.0.1 60477: no answer by UDP",
            "FAILED … python3 netprobe.py udp 1….1 60477: no answer by UDP",
        ),
    ],
)
def test_of_a_long_failure_the_reason_is_told(reason: str, told: str) -> None:
    story = Story(row("1")).to(State.FAILED, "1", reason=reason)
    assert text(story, columns=85)[4].split("│")[3].strip() == told


def test_a_narrow_list_keeps_names_and_reasons() -> None:
    reason = "ConnectionError: ssh: connect to host node17 port 22: timed out"
    inner = [row(f"3.{n}") for n in range(1, 40)]
    story = Story(row("1", "boot node17"), row("2", "load node01"), row("3", "site"), *inner)
    story.to(State.RUNNING, "2", "3", "3.2").progress("2", percent=55.0, message="writing sda2")
    story.to(State.FAILED, "1", "3.1", reason=reason)
    assert text(story, columns=40, rows=10)[2:7] == [
        "├──────────────┬───────────────────────┤",
        "│✗ boot node17 │ … timed out          ┃│",
        "│✗ ▾ site      │ 0/39 done  1 FAIL    ││",
        "│✗   job3.1    │ … timed out          ││",
        "│▶   job3.2    │ running              ││",
    ]
    view = View(folded={"3"})
    assert text(story, view, 40, 10)[5] == "│▶ load node01 │  55%  writing sda2    │"


def test_wide_characters_are_never_halved() -> None:
    story = Story(row("1", "世" * 40)).to(State.RUNNING, "1").output("1", "界" * 80)
    for columns in range(40, 60):
        for line in text(story, View(), columns, 8):
            assert urwid.calc_width(line, 0, len(line)) == columns


def test_the_title_tells_how_the_run_ends() -> None:
    story = lab()
    story.tell(RunStopping, reason=StopReason.TIMEOUT)
    assert text(story)[0].startswith("┌ deploy-lab stopping: timeout ─")
    story.end(ok=False)
    assert text(story)[0].startswith("┌ deploy-lab FAILED ─")
    assert text(Story(label="").end(ok=True))[0].startswith("┌ done ─")


def test_what_the_engine_warns_of_stands_in_the_last_line_for_a_while() -> None:
    story = Story(row("1"))
    story.tell(Message, level="WARNING", source="engine", text="job1 was abandoned")
    assert text(story)[-1].startswith("└ job1 was abandoned ─")
    story.later(10)
    assert text(story)[-1].startswith("└ ? help ")


def test_a_retry_and_a_stop_are_told_in_words() -> None:
    story = Story(row("1"), row("2")).to(State.RUNNING, "1", "2")
    story.move("1", State.SCHEDULED, attempt=2, attempts=3, retry_in=4.0, reason="rc=1")
    story.tell(JobStopping, job="2", reason="timeout")
    told = "\n".join(text(story))
    assert "↻ job1" in told
    assert "retry 2/3 in 4s: rc=1" in told
    assert "! job2" in told
    assert "stopping: timeout" in told


def big(count: int) -> Story:
    jobs = [
        row(str(n), f"load measurement node{n}", requires=("1",) * (n > 1))
        for n in range(1, count + 1)
    ]
    story = Story(*jobs)
    story.to(State.FINISHED, "1").later(5)
    story.to(State.RUNNING, *map(str, range(2, count // 2)))
    for number in range(2, count // 4):
        story.progress(str(number), percent=number % 100, message="writing sda2")
    return story


def test_a_big_run_is_sorted_again_at_most_twice_a_second() -> None:
    story = big(BIG)
    view = View()
    compose(story, view)
    before = view.shown
    story.later(PAUSE / 2).to(State.FAILED, str(BIG))
    compose(story, view)
    assert view.shown == before
    story.later(PAUSE / 2)
    compose(story, view)
    assert view.shown[0] == str(BIG)


def test_a_frame_of_ten_thousand_jobs_costs_no_more_than_a_screenful() -> None:
    story = big(10_000)
    view = View()
    compose(story, view, 200, 60)
    spent = []
    for _ in range(20):
        story.progress("2", percent=50.0)
        before = time.thread_time()
        compose(story, view, 200, 60)
        spent.append(time.thread_time() - before)
    assert min(spent) < 0.005


@given(st.integers(1, 400), st.floats(0, 100))
def test_a_bar_is_full_only_at_100_percent(cells: int, percent: float) -> None:
    full, empty = UNICODE.bar(percent, cells)
    assert len(full + empty) == cells
    assert (not empty) == (percent == 100)


def test_the_view_is_told_nothing_but_what_was_drawn() -> None:
    view = View(filter="node", sort=Sort.NAME, pane=Pane.LOG)
    chosen = ("ascii_only", "filter", "sort", "folded", "done_open", "pane", "in_pane", "cursor")
    before = [getattr(replace(view), name) for name in chosen]
    compose(lab(), view)
    assert [getattr(view, name) for name in chosen] == before


@pytest.mark.parametrize("columns", [40, 80, 120])
@pytest.mark.parametrize("pane", [None, Pane.LOG, Pane.DETAILS])
def test_the_columns_meet_the_lines_across(columns: int, pane: Pane | None) -> None:
    drawn = text(lab(), View(pane=pane), columns, 24)
    for above, below in itertools.pairwise(drawn):
        for up, down in zip(above, below, strict=True):
            assert not (up in "│┬┼" and down == "─"), f"{above}\n{below}"
            assert not (up == "─" and down in "│┴┼"), f"{above}\n{below}"


def test_a_failure_that_is_not_critical_says_so_where_there_is_room() -> None:
    story = Story(row("1", critical=False)).to(State.RUNNING, "1")
    story.move("1", State.FAILED, reason="ValueError: it broke")
    assert any("it broke (not critical)" in line for line in text(story, columns=80))
    assert any("FAILED ValueError: it broke" in line for line in text(story, columns=60))
    assert not any("critical" in line for line in text(story, columns=60))
