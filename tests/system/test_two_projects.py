"""Two projects on one stack: whatever one asks, with credentials of its own, it learns nothing of the other."""

import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.system.calls import Answer, Calls, absent
from tests.system.harvest import Harvest
from tests.system.probes import ROLES, Probe, marks_of, probes, values_of
from tests.system.running import Platform, objects_of
from tidemill_testkit.stack import unique_name

QUICK = 250
COUNT = int(os.environ.get("TIDEMILL_PROBES", QUICK))
"""Probes, each of two calls; `make verify` sends 5,500."""


@pytest.fixture(scope="session")
def stranger(platform: Platform) -> Iterator[dict[str, Calls]]:
    """Give the calls of another project, with a credential of each role."""
    other = Platform(platform.folder, platform.addresses, unique_name("stranger"))
    with ExitStack() as open_:
        yield {role: open_.enter_context(Calls(other.addresses, other.api_key(role)[1])) for role in set(ROLES)}


@pytest.fixture(scope="session")
def object_keys(filled: Platform, harvest: Harvest) -> list[str]:
    """Give the names of some of the project's objects."""
    assert harvest.messages
    return [name for name in objects_of(filled) if filled.project in name][:20]


def leaked(answer: Answer, sent: bytes, marks: list[str]) -> list[str]:
    """Return what an answer holds of the other project, and the request did not."""
    said = answer.text.encode() + answer.body
    return [mark for mark in marks if mark.encode() in said and mark.encode() not in sent]


def differ(probe: Probe, foreign: Answer, unknown: Answer) -> bool:
    """Return whether answers to a value of another project differ from those to one that none has."""
    values = (probe.value, absent(probe.value))
    stems = [form for value in values for form in (value.partition("@")[0], value.lower())]  # as some errors show them
    theirs, ours = foreign.without(*values, *stems), unknown.without(*values, *stems)
    bodies = (foreign.body.replace(values[0].encode(), values[1].encode()), unknown.body)
    return theirs != ours or (probe.reads and bodies[0] != bodies[1])


def test_no_answer_shows_anything_of_another_project(
    filled: Platform, harvest: Harvest, stranger: dict[str, Calls], object_keys: list[str]
) -> None:
    marks, values = marks_of(harvest, filled.project), values_of(harvest, object_keys)
    codes, found = Counter[str](), list[str]()
    for probe in probes(harvest, values, project=filled.project, count=COUNT, seed=COUNT):
        calls = stranger[probe.role]
        named = {name: absent(value) for name, value in probe.metadata.items()}
        foreign, unknown = (
            calls(probe.method, probe.foreign, **probe.metadata),
            calls(probe.method, probe.unknown, **named),
        )
        codes.update([foreign.code, unknown.code])
        where = f"{probe.method} {'.'.join(probe.way)} = {probe.value!r} as {probe.role}"
        if shown := leaked(foreign, probe.foreign, marks) + leaked(unknown, probe.unknown, marks):
            found.append(f"{where}: shows {shown}")
        if differ(probe, foreign, unknown):
            found.append(f"{where}: {foreign} is not {unknown}")

    sys.stdout.write(f"{2 * COUNT} probes with {len(values)} values of {len(marks)} marks: {dict(codes)}\n")
    assert object_keys
    assert len(marks) > 20
    assert codes["NOT_FOUND"] > COUNT / 10
    assert not found, "\n".join(found[:20])
