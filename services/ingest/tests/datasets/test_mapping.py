from datetime import UTC, datetime

from tidemill.ingest.v1 import dataset_pb2
from tidemill_core.aggregate import ObjectRef
from tidemill_core.approvals import Approval, ApprovalPolicy
from tidemill_ingest.datasets.domain.dataset import Dataset, DatasetState, Withheld
from tidemill_ingest.datasets.domain.version import (
    Batch,
    DatasetVersion,
    ExampleBatchOffer,
    Part,
    Statistics,
    VersionDraft,
)
from tidemill_ingest.datasets.mongo import DATASETS
from tidemill_kit.store.aggregates import Identity
from tidemill_testkit.mapping import unsent

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
REF = {"bucket": "b", "key": "acme/k", "size": 7, "sha256": "s"}
PART = {"object": REF, "examples": 3}
STATISTICS = {
    "offered": 9,
    "duplicates": 1,
    "overlap": 1,
    "erased": 1,
    "groups": 5,
    "end_users": 2,
    "mean_output_chars": 4.5,
    "shared": 0,
    "unmasked": 0,
    "empty": 0,
}
VERSION = {
    "dataset": "sft",
    "number": 1,
    "seq": 1,
    "draft": {"digest": "g", "train": PART, "held_out": PART, "statistics": STATISTICS},
    "curation": "c",
    "curation_seq": 1,
    "published_at": NOON,
    "approval": {"count": 1, "role": "operator"},
    "approvals": [{"approver": "user:ada", "rationale": "read", "approve_time": NOON}],
    "authors": ["user:mia"],
}
STORED = {
    "state": "active",
    "share": 0.4,
    "group_by": "question",
    "approval": {"count": 2, "role": "reviewer"},
    "offers": [
        {
            "id": "o",
            "curation": "c",
            "curation_seq": 2,
            "deployment": "d",
            "batch": {"object": REF, "examples": 3},
            "offered_at": NOON,
            "authors": ["user:mia"],
        }
    ],
    "waiting": 1,
    "heard": [["a.b", 1], ["c", 2]],
    "versions": [VERSION],
    "version_count": 1,
    "split": None,
    "owed": -5,
    "withheld": {"reason": "R", "message": "m", "curation": "c", "curation_seq": 1, "withheld_at": NOON},
    "epoch": 4,
    "deleted_at": None,
}


def test_a_dataset_is_stored_under_the_names_that_it_always_had() -> None:
    identity = Identity(
        id="sft", project="acme", labels={}, version=1, seq=1, create_time=NOON, update_time=NOON, deleted=False
    )
    ref = ObjectRef(bucket="b", key="acme/k", size=7, sha256="s")
    part = Part(object=ref, examples=3)
    draft = VersionDraft(
        digest="g",
        train=part,
        held_out=part,
        statistics=Statistics(
            offered=9,
            duplicates=1,
            overlap=1,
            erased=1,
            groups=5,
            end_users=2,
            mean_output_chars=4.5,
            shared=0,
        ),
    )
    offer = ExampleBatchOffer(
        id="o",
        curation="c",
        curation_seq=2,
        deployment="d",
        batch=Batch(object=ref, examples=3),
        offered_at=NOON,
        authors=("user:mia",),
    )
    version = DatasetVersion(
        dataset="sft",
        number=1,
        seq=1,
        draft=draft,
        curation="c",
        curation_seq=1,
        published_at=NOON,
        approval=ApprovalPolicy(count=1),
        approvals=(Approval(approver="user:ada", rationale="read", approve_time=NOON),),
        authors=("user:mia",),
    )
    dataset = Dataset(
        **identity.fields(),
        state=DatasetState.ACTIVE,
        held_out_share=0.4,
        approval=ApprovalPolicy(count=2, role="reviewer"),
        offers=(offer,),
        last_seq_by_curation={"c": 2, "a.b": 1},
        versions=(version,),
        version_count=1,
        held_out_debt=-5,
        last_withheld=Withheld(reason="R", message="m", curation="c", curation_seq=1, withhold_time=NOON),
        epoch=4,
    )

    assert DATASETS.encode(dataset) == STORED
    assert DATASETS.decode(identity, STORED, 2) == dataset


def test_a_dataset_of_an_older_form_is_read_with_its_split_and_without_what_came_later() -> None:
    identity = Identity(
        id="sft", project="acme", labels={}, version=1, seq=1, create_time=NOON, update_time=NOON, deleted=False
    )
    old = {name: value for name, value in STORED.items() if name not in {"owed", "approval"}} | {"split": REF}
    old["versions"] = [
        {name: value for name, value in VERSION.items() if name not in {"approval", "approvals", "authors"}}
    ]

    dataset = DATASETS.decode(identity, old, 1)

    assert dataset.split == ObjectRef(bucket="b", key="acme/k", size=7, sha256="s")
    assert dataset.held_out_debt == 0
    assert (dataset.approval.count, dataset.versions[0].missing_approvals) == (0, 0)


def test_what_is_not_sent_of_a_dataset_is_what_was_left_out_on_purpose() -> None:
    assert unsent(dataset_pb2.Dataset, Dataset) == {
        "state",
        "offers",
        "last_seq_by_curation",
        "versions",
        "split",
        "held_out_debt",
        "epoch",
        "deleted_at",
    }
    assert unsent(dataset_pb2.WithheldVersion, Withheld) == set()
    assert unsent(dataset_pb2.DatasetVersion, DatasetVersion, VersionDraft) == {"draft", "published_at"}
    assert unsent(dataset_pb2.DatasetStatistics, Statistics) == {"shared"}
