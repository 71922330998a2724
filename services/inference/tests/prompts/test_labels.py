"""Labels of versions: how they moved, and those that wait for approvals."""

from datetime import timedelta

import pytest

from services.inference.tests.fakes import ADA, writing
from services.inference.tests.prompts.test_crud import BOB, BOSS, MIA, ONE, TWO, Library
from tidemill.inference.v1.prompt_pb2 import LabelProtection as LabelProtectionMessage
from tidemill_core.approvals import ApprovalMissing, ApprovalPolicy, ApprovalPolicyLowered, ApproverNotAllowed
from tidemill_core.errors import InvalidInput
from tidemill_inference.prompts.domain.labels import MAX_MOVES, NO_PROTECTION, LabelProtection
from tidemill_inference.prompts.domain.prompt import Prompt
from tidemill_inference.prompts.messages import prompt_message, protection_of_message
from tidemill_testkit.clocks import NOON

PROTECTED = LabelProtection(labels=("production",))


async def protected(protection: LabelProtection = PROTECTED) -> Library:
    """Return a prompt of Mia's with two versions and a protected label."""
    library = Library()
    await library.crud.create(MIA, "greeting", ONE, labels={}, label_protection=protection, write=writing("new"))
    await library.crud.update(MIA, "greeting", content=TWO, write=writing("two"))
    return library


async def test_each_move_of_a_label_is_kept_with_who_made_it_and_when() -> None:
    library = Library()
    await library.has("greeting", ONE, TWO)

    for number, version in enumerate((1, 2, 2, 1)):
        await library.crud.label(MIA, "greeting", "live", version=version, write=writing(f"l{number}"))

    labelled = await library.prompts.get(ADA.project, "greeting")
    moves = [(each.label, each.previous, each.version) for each in labelled.label_moves]
    assert moves == [("live", 0, 1), ("live", 1, 2), ("live", 2, 1)]
    assert {(each.mover, each.move_time) for each in labelled.label_moves} == {("user:mia", NOON)}
    shown = prompt_message(labelled, asking=ADA.project)
    assert [(each.version, each.previous, each.mover) for each in shown.label_moves[:2]] == [
        (1, 0, "user:mia"),
        (2, 1, "user:mia"),
    ]
    assert {each.mover for each in prompt_message(labelled, asking="globex").label_moves} == {""}


async def test_the_last_moves_are_kept() -> None:
    prompt = await Library().has("greeting", ONE, TWO)

    for number in range(MAX_MOVES + 5):
        prompt.label("live", version=1 + number % 2, now=NOON + timedelta(seconds=number))

    assert len(prompt.label_moves) == MAX_MOVES
    assert prompt.label_moves[0].move_time == NOON + timedelta(seconds=5)


async def test_a_protected_label_points_only_to_what_another_person_has_approved() -> None:
    library = await protected()

    with pytest.raises(ApprovalMissing, match=r"greeting@2, which label production would point to, lacks 1 approval"):
        await library.crud.label(BOB, "greeting", "production", version=2, write=writing("l1"))
    assert (await library.crud.label(BOB, "greeting", "draft", version=2, write=writing("l2"))).resolve(
        "draft"
    ).number == 2
    await library.crud.approve(BOB, "greeting", version=2, rationale="", write=writing("a1"))
    labelled = await library.crud.label(MIA, "greeting", "production", version=2, write=writing("l3"))

    assert labelled.resolve("production").number == 2
    again = await library.crud.label(MIA, "greeting", "production", version=2, write=writing("l4"))
    assert len(again.label_moves) == 2


async def test_only_an_admin_protects_labels_less() -> None:
    library = await protected(LabelProtection(labels=("production",), approvals=2))

    for less in (
        NO_PROTECTION,
        LabelProtection(labels=("production",)),
        LabelProtection(labels=("live",), approvals=2),
    ):
        with pytest.raises(ApprovalPolicyLowered):
            await library.crud.update(MIA, "greeting", label_protection=less, write=writing("u1"))
    with pytest.raises(ApprovalPolicyLowered):
        await library.crud.delete(MIA, "greeting", writing("d1"))
    more = LabelProtection(labels=("live", "production"), approvals=3)
    assert (await changed(library, MIA, more, "u2")).label_protection == more
    assert (await changed(library, BOSS, NO_PROTECTION, "u3")).label_protection == NO_PROTECTION
    assert (await library.crud.delete(MIA, "greeting", writing("d2"))).id == "greeting"


async def test_only_an_admin_gives_protected_labels_to_another_role_to_approve() -> None:
    library, admins = await protected(), ApprovalPolicy(role="admin")
    with pytest.raises(ApprovalPolicyLowered):
        await library.crud.update(MIA, "greeting", approval=admins, write=writing("r1"))
    await library.crud.approve(BOB, "greeting", version=2, rationale="", write=writing("a1"))
    await library.crud.update(BOSS, "greeting", approval=admins, write=writing("r2"))

    for role in ("operator", "reviewer"):
        with pytest.raises(ApprovalPolicyLowered):
            await library.crud.update(MIA, "greeting", approval=ApprovalPolicy(role=role), write=writing("r3"))
    with pytest.raises(ApproverNotAllowed):
        await library.crud.approve(BOB, "greeting", version=2, rationale="", write=writing("a2"))
    with pytest.raises(ApprovalMissing):  # what an operator approved before does not open it
        await library.crud.label(MIA, "greeting", "production", version=2, write=writing("l1"))
    await library.crud.approve(BOSS, "greeting", version=2, rationale="", write=writing("a3"))
    assert (await library.crud.label(MIA, "greeting", "production", version=2, write=writing("l2"))).version_labels


async def changed(library: Library, caller, protection: LabelProtection, request: str) -> Prompt:  # type: ignore[no-untyped-def] # noqa: ANN001
    return await library.crud.update(caller, "greeting", label_protection=protection, write=writing(request))


@pytest.mark.parametrize(
    ("protection", "field"),
    [
        (LabelProtection(labels=("Production",)), "labels[0]"),
        (LabelProtection(labels=("live", "live")), "labels"),
        (LabelProtection(labels=("123",)), "labels[0]"),
        (LabelProtection(labels=tuple(f"l{number}" for number in range(21))), "labels"),
        (LabelProtection(labels=("live",), approvals=11), "approvals"),
        (LabelProtection(labels=("live",), approvals=-1), "approvals"),
    ],
)
async def test_a_protection_beyond_its_limits_is_refused(protection: LabelProtection, field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        await protected(protection)

    assert [each.field for each in refused.value.violations] == [f"prompt.label_protection.{field}"]


async def test_a_protection_is_read_and_sent_with_its_default() -> None:
    read = protection_of_message(LabelProtectionMessage(labels=["production"]))
    library = await protected(read)

    shown = prompt_message(await library.prompts.get(ADA.project, "greeting"), asking=ADA.project)

    assert read == PROTECTED
    assert (list(shown.label_protection.labels), shown.label_protection.approvals) == (["production"], 1)
    bare = prompt_message(await library.has("other", ONE), asking=ADA.project)
    assert not bare.HasField("label_protection")
