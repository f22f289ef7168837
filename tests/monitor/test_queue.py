"""The queue: states are never lost, the rest is thinned while it waits, the order is seq's."""

from __future__ import annotations

import itertools
import threading

from engine import JobOutput, JobProgress, JobReady, JobState, RunEnded, State, Tick
from monitor.queue import BETWEEN, CoalescingQueue


class Teller:
    """Makes events with the seq that a run would give them."""

    def __init__(self) -> None:
        self._seq = itertools.count()

    def head(self) -> tuple[str, int, float, float]:
        return "r", next(self._seq), 0.0, 0.0

    def progress(self, job: str, **fields: object) -> JobProgress:
        return JobProgress(*self.head(), job, **fields)  # type: ignore[arg-type]

    def output(self, job: str, text: str) -> JobOutput:
        return JobOutput(*self.head(), job, "stdout", text)

    def state(self, job: str, old: State, new: State) -> JobState:
        return JobState(*self.head(), job, old, new)


def test_states_are_never_lost() -> None:
    queue, tell = CoalescingQueue(lines=1), Teller()
    states = []
    for job in map(str, range(1000)):
        for old, new in itertools.pairwise((State.IDLE, State.SCHEDULED, State.RUNNING)):
            states.append(tell.state(job, old, new))
            queue.put_nowait(states[-1])
            queue.put_nowait(tell.output(job, "a"))
            queue.put_nowait(tell.output(job, "b"))
    taken = queue.take()
    assert [event for event in taken if isinstance(event, JobState)] == states
    assert [event.seq for event in taken] == sorted(event.seq for event in taken)
    assert sum(isinstance(event, JobOutput) for event in taken) == 1000
    assert queue.take() == []


def test_progress_is_merged() -> None:
    queue, tell = CoalescingQueue(), Teller()
    queue.put_nowait(tell.progress("1", percent=30.0))
    queue.put_nowait(tell.progress("2", percent=1.0))
    queue.put_nowait(tell.progress("1", message="writing"))
    queue.put_nowait(tell.progress("1", percent=40.0))
    assert [(event.job, event.percent, event.message) for event in progress(queue.take())] == [
        ("2", 1.0, None),
        ("1", 40.0, "writing"),
    ]


def test_progress_is_not_carried_into_the_next_attempt() -> None:
    queue, tell = CoalescingQueue(), Teller()
    queue.put_nowait(tell.progress("1", percent=90.0))
    queue.put_nowait(tell.state("1", State.RUNNING, State.SCHEDULED))
    queue.put_nowait(tell.state("1", State.SCHEDULED, State.RUNNING))
    queue.put_nowait(tell.progress("1", message="again"))
    taken = queue.take()
    assert [type(event) for event in taken] == [JobProgress, JobState, JobState, JobProgress]
    assert [event.percent for event in progress(taken)] == [90.0, None]


def test_reports_of_which_no_event_is_made_are_looked_up() -> None:
    queue, tell = CoalescingQueue(), Teller()
    queue.put_nowait(tell.state("1", State.SCHEDULED, State.RUNNING))
    queue.put_progress("1", 30.0, 3, 10, None)
    queue.put_progress("1", None, None, None, "writing")
    assert queue.latest("1") == (30.0, 3, 10, "writing", 0)
    assert queue.latest("2") is None
    assert len(queue.take()) == 1


def test_such_reports_become_events_where_they_are_wanted() -> None:
    queue = CoalescingQueue()
    for job in "123":
        queue.put_progress(job, 10.0, None, None, None)
    assert [event.job for event in queue.take_reports(lambda job: job != "2")] == ["1", "3"]
    assert [event.job for event in queue.take_reports(bool)] == ["2"]
    assert queue.take_reports(bool) == []


def test_the_last_of_them_comes_before_the_end_of_its_attempt() -> None:
    queue, tell = CoalescingQueue(), Teller()
    queue.put_nowait(tell.state("1", State.SCHEDULED, State.RUNNING))
    queue.put_progress("1", 90.0, None, None, "nearly")
    queue.put_nowait(tell.output("1", "a line"))
    queue.put_nowait(tell.state("1", State.RUNNING, State.FINISHED))
    assert queue.latest("1") is None
    taken = queue.take()
    assert [type(event) for event in taken] == [JobState, JobOutput, JobProgress, JobState]
    assert [(event.percent, event.message) for event in progress(taken)] == [(90.0, "nearly")]


def progress(events: list[Tick]) -> list[JobProgress]:
    return [event for event in events if isinstance(event, JobProgress)]


def test_the_last_lines_of_each_job_are_kept() -> None:
    queue, tell = CoalescingQueue(lines=2), Teller()
    for text in "abc":
        queue.put_nowait(tell.output("1", text))
    queue.put_nowait(tell.output("2", "x"))
    assert [(event.job, event.text) for event in queue.take() if isinstance(event, JobOutput)] == [
        ("1", "b"),
        ("1", "c"),
        ("2", "x"),
    ]


def test_nobody_takes() -> None:
    queue, tell = CoalescingQueue(), Teller()
    queue.put_nowait(JobReady(*tell.head(), "1"))
    queue.drop()
    queue.put_nowait(JobReady(*tell.head(), "1"))
    assert queue.take() == []


def test_the_end_is_known() -> None:
    queue, tell = CoalescingQueue(), Teller()
    queue.put_nowait(JobReady(*tell.head(), "1"))
    assert not queue.ended
    queue.put_nowait(RunEnded(*tell.head(), ok=True, why="", counts={}, duration=1.0))
    assert queue.ended


def test_two_threads() -> None:
    queue, tell = CoalescingQueue(), Teller()
    taken: list[Tick] = []
    done = threading.Event()

    def take() -> None:
        while not done.is_set():
            taken.extend(queue.take())
        taken.extend(queue.take())

    thread = threading.Thread(target=take)
    thread.start()
    for _ in range(20_000):
        queue.put_nowait(JobReady(*tell.head(), "1"))
    done.set()
    thread.join()
    assert [event.seq for event in taken] == list(range(20_000))


def test_who_puts_steps_back_once_who_takes_is_kept_waiting() -> None:
    queue = CoalescingQueue()
    queue.wanted_at = 10.0
    for seq, at in enumerate((9.0, 10.0, 10.5, 10.51)):
        queue.put_nowait(JobReady("r", seq, at, 0.0, "1"))
    assert queue.wanted_at == 10.5 + BETWEEN
    assert len(queue.take()) == 4


def test_output_comes_before_the_end_of_its_job() -> None:
    queue, tell = CoalescingQueue(), Teller()
    for job in "12":
        queue.put_nowait(tell.output(job, "a"))
        queue.put_nowait(tell.progress(job, percent=1.0))
    assert len(queue.take()) == 4
    queue.put_nowait(tell.output("1", "last words"))
    queue.put_nowait(tell.state("1", State.RUNNING, State.FAILED))
    queue.put_nowait(tell.state("2", State.RUNNING, State.FAILED))
    assert [type(event) for event in queue.take()] == [JobOutput, JobState, JobState]


def test_two_threads_and_all_kinds_of_events() -> None:
    queue, tell = CoalescingQueue(), Teller()
    taken: list[Tick] = []
    done = threading.Event()

    def take() -> None:
        while not done.is_set():
            taken.extend(queue.take())
        taken.extend(queue.take())

    thread = threading.Thread(target=take)
    thread.start()
    told: list[Tick] = []
    for number in range(2_000):
        job = str(number % 7)
        told += [
            tell.state(job, State.SCHEDULED, State.RUNNING),
            tell.output(job, "a"),
            tell.progress(job, percent=float(number)),
            tell.output(job, "b"),
            tell.state(job, State.RUNNING, State.FAILED),
        ]
        for event in told[-5:]:
            queue.put_nowait(event)
    done.set()
    thread.join()
    assert [event for event in taken if isinstance(event, JobState)] == [
        event for event in told if isinstance(event, JobState)
    ]
    of_a_job = [event.seq for event in taken if getattr(event, "job", "") == "3"]
    assert of_a_job == sorted(set(of_a_job))
    assert sum(isinstance(event, JobOutput) for event in taken) == 4_000
