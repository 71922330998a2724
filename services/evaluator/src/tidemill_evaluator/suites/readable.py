"""What a caller may read of cases that people have asked, or that rest on documents."""

from collections.abc import Sequence
from dataclasses import astuple, replace

from tidemill_core.application import Caller
from tidemill_core.rights import ACT_FOR_USERS, has_right
from tidemill_evaluator.suites.domain.cases import Case
from tidemill_evaluator.suites.ports import Restricted


async def readable(restricted: Restricted, caller: Caller, cases: Sequence[Case]) -> dict[str, Case]:
    """Return the cases of proposals that the caller may read, by id: by the rule of recorded answers.

    Without the right to act for users, those that rest on documents which the caller may not read are left out, and
    those of others are without the messages before the question.

    Raises:
        DependencyUnavailable: ingest, which knows the readers, does not answer.

    """
    if has_right(caller, ACT_FOR_USERS):
        return {case.id: case for case in cases}
    sources = {each for case in cases for each in case.rests_on}
    hidden = await restricted(caller, sorted(sources, key=astuple)) if sources else frozenset()
    found = dict[str, Case]()
    for case in cases:
        if case.end_user and case.end_user == caller.subject:
            found[case.id] = case
        elif hidden.isdisjoint(case.rests_on):
            found[case.id] = replace(case, context=replace(case.context, earlier=()))
    return found
