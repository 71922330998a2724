"""What a repeated deletion and labels may not do."""

from dataclasses import replace

import pytest

from services.inference.tests.deployments.test_crud import SPEC, Office
from services.inference.tests.fakes import ADA, asking, writing
from services.inference.tests.rollouts.rolling import outcomes, rolling, rollout_of
from tidemill_core.errors import InvalidInput
from tidemill_inference.deployments.domain.deployment import Deployment


async def test_a_deletion_that_is_repeated_takes_nothing_from_the_rollout_of_a_deployment_made_anew() -> None:
    office = Office()
    await office.has_helpdesk()
    await office.crud.delete(ADA, "helpdesk", writing("d"))
    await office.crud.create(ADA, "helpdesk", SPEC, labels={}, write=writing("anew"))

    rollout = rollout_of(rolling())

    def rolls_out(deployment: Deployment) -> None:
        deployment.rollout = rollout

    await office.deployments.update(ADA.project, "helpdesk", rolls_out, request=asking("rollout"))
    [counted] = outcomes("candidate", 1)
    await office.outcomes.record(ADA.project, replace(counted, rollout=rollout.id))

    await office.crud.delete(ADA, "helpdesk", writing("d"))

    assert len(await office.outcomes.of_step(ADA.project, rollout.id, 1)) == 1


@pytest.mark.parametrize("labels", [{str(number): "" for number in range(33)}, {"k": "v" * 257}])
async def test_labels_beyond_their_limits_are_refused(labels: dict[str, str]) -> None:
    office = Office()
    with pytest.raises(InvalidInput, match=r"deployment\.labels"):
        await office.crud.create(ADA, "helpdesk", SPEC, labels=labels, write=writing("r"))
    await office.has_helpdesk()

    with pytest.raises(InvalidInput, match=r"deployment\.labels"):
        await office.crud.update(ADA, "helpdesk", labels=labels, write=writing("s"))
