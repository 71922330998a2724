"""Versions that people have to approve before trainings start on them."""

from dataclasses import replace

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from services.ingest.tests.conftest import ApiClient
from services.ingest.tests.datasets.examples import completed, numbered, stored
from services.ingest.tests.datasets.fakes import NAME, Datasets
from services.ingest.tests.datasets.test_events import body_of, context
from services.ingest.tests.datasets.test_shared import BOB, SHARED, Reading
from tidemill.ingest.v1 import dataset_service_pb2 as pb
from tidemill.ingest.v1.dataset_pb2 import ApprovalPolicy as PolicyMessage
from tidemill.ingest.v1.dataset_pb2 import Dataset as DatasetMessage
from tidemill_core.aggregate import Event
from tidemill_core.application import Caller, Request
from tidemill_core.approvals import ApprovalPolicy, ApprovalPolicyLowered, ApproverNotAllowed
from tidemill_core.errors import InvalidInput
from tidemill_core.resources import Write
from tidemill_ingest.datasets.domain.dataset import Dataset
from tidemill_ingest.datasets.domain.events import DatasetVersionApproved, DatasetVersionPublished
from tidemill_ingest.datasets.domain.version import DatasetVersion
from tidemill_ingest.errors import DatasetNotFound, DatasetVersionNotFound

MIA, BEA, ADA = [
    Caller(project="acme", subject=f"user:{name}", roles=frozenset({"operator"}), credential=f"jti-{name}")
    for name in ("mia", "bea", "ada")
]
ADMIN = replace(ADA, roles=frozenset({"admin"}))
FIRST = f"{NAME.id}@1"


def write(request_id: str = "", *, validate_only: bool = False) -> Write:
    return Write(request=Request.of(request_id, b""), validate_only=validate_only)


async def declared(*, count: int = 2, role: str = "operator") -> Datasets:
    """Return a dataset with a policy, and one version whose curation MIA made."""
    datasets = Datasets()
    dataset = Dataset(id=NAME.id, project=NAME.project, approval=ApprovalPolicy(count=count, role=role))
    await datasets.managing.create(MIA, dataset, write())
    await datasets.turned(numbered(20), authors=(MIA.subject,))
    return datasets


async def approve(
    datasets: Datasets, caller: Caller, *, request_id: str = "", validate_only: bool = False
) -> DatasetVersion:
    return await datasets.approving(
        caller, FIRST, rationale="read", write=write(request_id, validate_only=validate_only)
    )


def published(datasets: Datasets) -> list[tuple[type[Event], int]]:
    """Return the events of versions, with the approvals that each version missed then."""
    return [
        (type(each), each.version.missing_approvals)
        for each in datasets.datasets.published
        if isinstance(each, DatasetVersionPublished | DatasetVersionApproved)
    ]


async def test_the_last_approval_of_distinct_people_is_reported_once() -> None:
    datasets = await declared()

    for caller, missing in ((BEA, 1), (BEA, 1), (ADA, 0), (ADA, 0), (BEA, 0)):
        assert (await approve(datasets, caller)).missing_approvals == missing

    version = await datasets.newest()
    assert [each.approver for each in version.approvals] == ["user:bea", "user:ada"]
    assert published(datasets) == [(DatasetVersionPublished, 2), (DatasetVersionApproved, 0)]


async def test_authors_programs_and_other_roles_do_not_count() -> None:
    datasets = await declared(count=1, role="reviewer")
    reviewers = frozenset({"operator", "reviewer"})

    for refused in (BEA, replace(MIA, roles=reviewers), replace(BEA, subject="service_account:ci", roles=reviewers)):
        with pytest.raises(ApproverNotAllowed):
            await approve(datasets, refused)

    assert (await datasets.newest()).missing_approvals == 1
    assert not (await approve(datasets, replace(BEA, roles=reviewers))).missing_approvals


async def test_a_repeated_request_has_one_effect_and_a_preview_none() -> None:
    datasets = await declared(count=1)

    preview = await approve(datasets, BEA, validate_only=True)
    assert (preview.missing_approvals, (await datasets.newest()).missing_approvals) == (0, 1)

    first, again = [await approve(datasets, BEA, request_id="r1") for _ in range(2)]
    assert first == again == await datasets.newest()
    assert published(datasets).count((DatasetVersionApproved, 0)) == 1


async def test_only_what_was_seen_is_approved() -> None:
    datasets = await declared()

    for reference in (NAME.id, f"{NAME.id}@", f"{NAME.id}@x", f"{NAME.id}@{'1' * 10}"):
        with pytest.raises(InvalidInput, match="name the version that you have seen"):
            await datasets.approving(BEA, reference, rationale="", write=write())
    with pytest.raises(DatasetVersionNotFound, match="known are 1 to 1"):
        await datasets.approving(BEA, f"{NAME.id}@2", rationale="", write=write())
    with pytest.raises(DatasetNotFound):
        await datasets.approving(replace(BEA, project="globex"), FIRST, rationale="", write=write())
    await datasets.managing.delete(ADMIN, NAME.id, write())
    with pytest.raises(DatasetNotFound):
        await approve(datasets, BEA)


async def test_a_policy_is_that_of_the_publication_and_only_admins_lower_it() -> None:
    datasets = await declared(count=2)

    async def change(caller: Caller, count: int) -> None:
        given = Dataset(id=NAME.id, project=NAME.project, approval=ApprovalPolicy(count=count))
        await datasets.managing.update(caller, given, frozenset({"approval"}), write())

    await change(BEA, 3)
    with pytest.raises(ApprovalPolicyLowered):
        await change(BEA, 2)
    with pytest.raises(ApprovalPolicyLowered):
        await datasets.managing.delete(BEA, NAME.id, write())
    await change(ADMIN, 0)
    await datasets.turned(numbered(40), seq=2)

    assert [each.missing_approvals for each in (await datasets.dataset()).versions] == [2, 0]


async def test_a_version_has_the_authors_that_the_completion_names() -> None:
    datasets = await Datasets().declared()
    written = completed(await stored(datasets.objects, numbered(20))) | {"authors": ["user:mia"]}

    await datasets.curations.completed(context("e1"), body_of(written))
    await datasets.publish(NAME)

    assert (await datasets.newest()).authors == ("user:mia",)


async def test_a_shared_version_says_what_it_misses_and_not_who_approved() -> None:
    datasets = await declared()
    await approve(datasets, BEA)
    reading = Reading(datasets)
    reading.share()

    version = await reading.versions.version(BOB, SHARED)

    assert (version.missing_approvals, version.approval.count, version.authors) == (1, 2, ())
    assert [(each.approver, each.rationale) for each in version.approvals] == [("", "")]


async def test_approvals_are_declared_given_and_shown_by_the_api(client: ApiClient) -> None:
    policy = PolicyMessage(count=11, role="operator")
    with pytest.raises(InvalidInput, match=r"dataset\.approval\.count: is 11"):
        await client.datasets.CreateDataset(
            pb.CreateDatasetRequest(dataset=DatasetMessage(id=NAME.id, approval=policy))
        )
    made = (await client.datasets.CreateDataset(pb.CreateDatasetRequest(dataset=DatasetMessage(id=NAME.id)))).dataset
    assert made.approval == PolicyMessage(role="operator")
    changed = await client.datasets.UpdateDataset(
        pb.UpdateDatasetRequest(
            dataset=DatasetMessage(id=NAME.id, approval=PolicyMessage(count=1)),
            update_mask=FieldMask(paths=["approval"]),
        )
    )
    assert changed.dataset.approval == PolicyMessage(role="operator", count=1)
    await client.curated.turned(numbered(40))
    shown = (await client.datasets.GetDatasetVersion(pb.GetDatasetVersionRequest(id=NAME.id))).version
    assert (shown.missing_approvals, shown.approval.count) == (1, 1)
    listed = await client.datasets.ListDatasetVersions(pb.ListDatasetVersionsRequest(dataset=NAME.id))
    assert [each.missing_approvals for each in listed.versions] == [1]

    request = pb.ApproveDatasetVersionRequest(id=FIRST, rationale="read")
    approved = (await client.datasets.ApproveDatasetVersion(request)).version

    [approval] = approved.approvals
    assert (approved.missing_approvals, approval.rationale) == (0, "read")
