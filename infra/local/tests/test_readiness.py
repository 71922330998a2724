"""How the programs of a stack are asked whether they are ready."""

import time
from threading import Event

from tidemill_local import readiness


def test_who_stops_watching_does_not_wait_for_a_program_that_does_not_answer() -> None:
    answering = Event()
    watching = readiness.watch({"kafka": lambda: "" if answering.wait(10) else "it does not answer"})
    next(watching)
    begin = time.monotonic()

    watching.close()

    answering.set()
    assert time.monotonic() - begin < 5


def test_a_program_is_asked_until_it_is_ready() -> None:
    answers = iter(["it starts", ""])

    found = [ready for ready, _ in readiness.watch({"mongo": lambda: next(answers)})]

    assert (found.count(["mongo"]), found[-1]) == (1, ["mongo"])
