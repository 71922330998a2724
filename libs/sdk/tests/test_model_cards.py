"""A card says who made, approved and promoted a version; no name in it changes its form."""

from tidemill.trainer.v1.model_pb2 import ModelSource, TrainedSource
from tidemill_client.model_cards import Approved, Judgement, ModelCard, origin_of

JUDGED = Judgement(
    evaluation="ev-1",
    verdict="passed",
    started_by="user:eva",
    case_set="suite:truth@1",
    metric="rouge_l",
    cases=60,
    baseline=0.2,
    candidate=0.7,
    low=0.4,
    high=0.6,
)
APPROVED = Approved(
    deployment="helpdesk",
    rollout="ro-1",
    evaluation="ev-1",
    promoted="2026-01-01T12:00:00Z",
    reason="BY_HAND",
    decided_by="user:bob",
    approvals=[{"approver": "user:a|d`a\n# forged", "time": "2026-01-01T11:00:00Z"}],
)


def card(*, metrics: tuple[Judgement, ...] = (), promotions: tuple[Approved, ...] = ()) -> ModelCard:
    return ModelCard(
        version="lora@1",
        digest="d",
        source="small@1 trained on sft@2, run r",
        authors=["user:mia"],
        data={"dataset": "sft@2"},
        licence="That of its base.",
        limits=["trained on sequences of at most 512 tokens"],
        metrics=metrics,
        promotions=promotions,
    )


def test_a_card_names_authors_approvers_and_who_decided() -> None:
    text = card(metrics=(JUDGED,), promotions=(APPROVED,)).markdown()

    assert "| Authors | user:mia |" in text
    assert "| suite:truth@1 | rouge_l | 60 | 0.200 | 0.700 | +0.400 to +0.600 | passed | user:eva | ev-1 |" in text
    assert "user:bob | ev-1 |" in text
    assert "- trained on sequences of at most 512 tokens" in text


def test_a_name_stays_in_its_cell() -> None:
    lines = card(promotions=(APPROVED,)).markdown().splitlines()

    (row,) = [line for line in lines if "forged" in line]
    assert row.startswith("| helpdesk | ro-1 |")
    assert "user:a\\|d'a # forged" in row


def test_a_version_that_was_never_judged_or_promoted_says_so() -> None:
    text = card().markdown()

    assert "Not evaluated." in text
    assert "Never promoted." in text
    assert card(promotions=(APPROVED,)).as_json()["promotions"][0]["decided_by"] == "user:bob"


def test_the_origin_of_what_was_trained_is_the_base_of_an_adapter_or_what_full_weights_began_with() -> None:
    adapter = TrainedSource(run="r", base="small@1", dataset_version="sft@2")
    full = TrainedSource(run="r", finetuned_from="small@1", dataset_version="sft@2")

    origins = [origin_of(ModelSource(trained=each)) for each in (adapter, full)]

    assert origins == ["small@1 trained on sft@2, run r"] * 2
