"""Promotions are recorded with the version that they made live."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from services.trainer.tests.registry.fakes import ADA, Registry, model_files
from tidemill_kit.events.subscriptions import EventContext
from tidemill_trainer.registry.domain.model_version import MAX_PROMOTIONS, VersionApproval
from tidemill_trainer.registry.events import PROMOTED, TOPIC, RolloutIsPromoted, promotions

EXAMPLE = Path(__file__).parents[4] / "protos" / "examples" / f"{PROMOTED}.json"
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
CONTEXT = EventContext(
    id="e1",
    source="/tidemill/inference",
    type=PROMOTED,
    subject="helpdesk",
    project="acme",
    time=NOON,
    seq=1,
    topic=TOPIC,
    partition=0,
    offset=0,
    data=b"{}",
)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(folder=tmp_path)


async def promoted(registry: Registry, *rollouts: str, candidate: str = "smollm2@1", project: str = "acme") -> None:
    route = promotions(registry.versions).routes[PROMOTED]
    body = RolloutIsPromoted.model_validate_json(EXAMPLE.read_text(encoding="utf-8"))
    for rollout in rollouts:
        body_sent = body.model_copy(update={"candidate": candidate, "rollout": rollout})
        await route.handle(replace(CONTEXT, project=project), body_sent)


async def test_a_promotion_is_recorded_once_with_who_approved_it_and_who_decided(registry: Registry) -> None:
    await registry.register(model_files())

    await promoted(registry, "r-1", "r-1")

    (promotion,) = (await registry.crud.get_version(ADA, "smollm2@1")).promotions
    assert promotion.approvals == (VersionApproval(approver="user:ada", approve_time=NOON),)
    assert (promotion.deployment, promotion.rollout, promotion.evaluation) == ("helpdesk", "r-1", "e-1")
    assert (promotion.decided_by, promotion.reason, promotion.promote_time) == ("user:bob", "BY_HAND", NOON)


async def test_of_very_many_promotions_the_last_stay(registry: Registry) -> None:
    await registry.register(model_files())

    await promoted(registry, *[f"r-{number}" for number in range(MAX_PROMOTIONS + 1)])

    found = (await registry.crud.get_version(ADA, "smollm2@1")).promotions
    assert [each.rollout for each in found] == [f"r-{number}" for number in range(1, MAX_PROMOTIONS + 1)]


async def test_a_promotion_of_a_version_that_is_not_there_or_of_another_project_changes_nothing(
    registry: Registry,
) -> None:
    await registry.register(model_files())

    await promoted(registry, "r-1", candidate="gone@1")
    await promoted(registry, "r-1", project="other")

    assert (await registry.crud.get_version(ADA, "smollm2@1")).promotions == ()
