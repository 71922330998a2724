"""Approvals of versions: who may give them, what is shown of them, and who lowers a policy."""

from dataclasses import replace

import pytest

from services.trainer.tests.registry.fakes import Registry, model_files
from services.trainer.tests.registry.test_shared import BOB as GLOBEX
from services.trainer.tests.registry.test_shared import NAME, share
from tidemill_core.application import Caller, Request
from tidemill_core.approvals import ApprovalPolicy, ApprovalPolicyLowered, ApproverNotAllowed
from tidemill_core.errors import InvalidInput
from tidemill_core.resources import Write
from tidemill_trainer.errors import ModelNotFound
from tidemill_trainer.registry.domain.approvals import NOTHING_MISSING, Missing
from tidemill_trainer.registry.domain.model_version import ModelVersion

MIA = Caller(project="acme", subject="user:mia", roles=frozenset({"operator"}), credential="jti-mia")
BOB = replace(MIA, subject="user:bob", credential="jti-bob")
BOSS = replace(MIA, subject="user:boss", roles=frozenset({"admin"}), credential="jti-boss")
ONE = ApprovalPolicy(count=1)


def writing(name: str, *, validate_only: bool = False) -> Write:
    return Write(request=Request(id=name, digest=name), validate_only=validate_only)


async def made_by_mia(registry: Registry) -> None:
    await registry.register(model_files())

    def sign(version: ModelVersion) -> None:
        version.creator, version.authors = MIA.subject, (MIA.subject,)

    await registry.versions.update("acme", "smollm2@1", sign, request=Request.internal())


async def missing(registry: Registry, caller: Caller = MIA, name: str = "smollm2@1") -> Missing:
    return await registry.approvals.missing(caller, await registry.crud.get_version(caller, name))


async def test_a_version_lacks_what_its_models_policy_asks_for_until_others_approve_it(registry: Registry) -> None:
    await made_by_mia(registry)
    assert await missing(registry) == NOTHING_MISSING
    await registry.approvals.update(MIA, "smollm2", approval=ONE, write=writing("policy"))
    assert await missing(registry) == Missing(count=1, role="operator")

    with pytest.raises(ApproverNotAllowed, match="by the same person"):
        await registry.approvals.approve(MIA, "smollm2@1", rationale="", write=writing("own"))
    await registry.approvals.approve(BOB, "smollm2@1", rationale="", write=writing("dry", validate_only=True))
    assert (await missing(registry)).count == 1
    await registry.approvals.approve(BOB, "smollm2@1", rationale="fine", write=writing("a"))
    again = await registry.approvals.approve(BOB, "smollm2@1", rationale="again", write=writing("b"))

    assert [(each.approver, each.rationale) for each in again.approvals] == [("user:bob", "fine")]
    assert await missing(registry) == NOTHING_MISSING


async def test_an_approval_is_of_one_version_that_is_there(registry: Registry) -> None:
    await made_by_mia(registry)
    with pytest.raises(InvalidInput, match="one version"):
        await registry.approvals.approve(BOB, "smollm2", rationale="", write=writing("a"))
    with pytest.raises(ModelNotFound, match="smollm2"):
        await registry.approvals.approve(BOB, "other@1", rationale="", write=writing("b"))
    with pytest.raises(ModelNotFound, match="smollm2"):
        await registry.approvals.update(BOB, "other", approval=ONE, write=writing("c"))


async def test_only_an_admin_lowers_the_policy_of_a_model_or_deletes_one_that_has_it(registry: Registry) -> None:
    await made_by_mia(registry)
    await registry.approvals.update(MIA, "smollm2", approval=ONE, write=writing("policy"))

    with pytest.raises(ApprovalPolicyLowered):
        await registry.approvals.update(MIA, "smollm2", approval=ApprovalPolicy(), write=writing("lower"))
    with pytest.raises(ApprovalPolicyLowered):
        await registry.crud.delete(MIA, "smollm2", writing("delete"))
    assert (await registry.crud.delete(BOSS, "smollm2", writing("gone"))).deleted


async def test_labels_of_a_model_beyond_their_limits_are_refused(registry: Registry) -> None:
    await made_by_mia(registry)
    labels = {str(number): "" for number in range(33)}

    with pytest.raises(InvalidInput, match=r"model\.labels: has 33 entries"):
        await registry.approvals.update(MIA, "smollm2", labels=labels, write=writing("labels"))


async def test_another_project_sees_what_a_shared_version_lacks_and_not_who_approved_it(registry: Registry) -> None:
    await made_by_mia(registry)
    share(registry)
    await registry.approvals.update(MIA, "smollm2", approval=ApprovalPolicy(count=2), write=writing("policy"))
    await registry.approvals.approve(BOB, "smollm2@1", rationale="", write=writing("a"))

    assert await missing(registry, GLOBEX, f"{NAME}@1") == Missing(count=1, role="operator")
    assert (await registry.crud.get_version(GLOBEX, f"{NAME}@1")).approvals == ()
