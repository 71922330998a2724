"""Gates that require judges."""

from dataclasses import replace

import pytest

from services.evaluator.tests.builders import ADA, gate_of, write
from services.evaluator.tests.harness import Evaluator
from services.evaluator.tests.judges.harness import GRADER, Judging, judge_of
from tidemill_core.application import Request
from tidemill_core.resources import Write
from tidemill_evaluator.errors import NoVerdict
from tidemill_evaluator.gates.domain.gate import Requirement

PREVIEW = Write(request=Request.internal(), validate_only=True)
REQUIRE = frozenset({"require"})


async def test_a_gate_is_changed_also_where_a_judge_that_it_has_already_is_another_version_by_now() -> None:
    judging = Judging()
    for name in ("tone", "brief"):
        await judging.with_judge(judge_of(name))
    judging.review(*(1.0, 0.0) * 20)
    await judging.measured()
    evaluator = Evaluator(families=[judging.metrics])
    await evaluator.with_suite()
    has = Requirement(suite="truth", metric="judge:tone")
    await evaluator.gate_crud.create(ADA, gate_of(has), write())

    judging.models.deployments["acme", "grader"] = replace(GRADER, configuration="g2")

    previewed = await evaluator.gate_crud.update(ADA, gate_of(has), REQUIRE, PREVIEW)
    changed = gate_of(replace(has, gain_above=0.1))
    assert previewed.require == (has,)
    assert (await evaluator.gate_crud.update(ADA, changed, REQUIRE, write())).require == changed.require
    new = gate_of(has, Requirement(suite="truth", metric="judge:brief"))
    with pytest.raises(NoVerdict, match="judge brief decides nothing"):
        await evaluator.gate_crud.update(ADA, new, REQUIRE, PREVIEW)
