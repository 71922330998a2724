"""Curations as messages, and as they are stored since their first version."""

from datetime import timedelta

from services.feedback.tests.builders import rule_with
from tidemill.feedback.v1 import curation_pb2 as pb
from tidemill_feedback.curations.crud import Overview
from tidemill_feedback.curations.domain.curation import Curation, Rule
from tidemill_feedback.curations.domain.example import ExampleKind
from tidemill_feedback.curations.domain.ledger import Counts
from tidemill_feedback.curations.messages import curation_message, rule_of
from tidemill_feedback.curations.mongo import CURATIONS
from tidemill_kit.store.aggregates import Identity
from tidemill_testkit.clocks import NOON
from tidemill_testkit.mapping import unsent

IDENTITY = Identity(
    id="sft",
    project="acme",
    labels={"team": "support"},
    version=3,
    seq=1,
    create_time=NOON,
    update_time=NOON,
    deleted=False,
)
OLD = {
    "rule": {
        "dataset": "helpdesk_sft",
        "deployment": "helpdesk",
        "feedback": ["correction"],
        "new_examples": 3,
        "per_user_at_most": 2,
        "min_output_chars": 0,
        "max_output_chars": 0,
        "at_latest_every": 604800.0,
        "at_least": 0,
        "paused": False,
    },
    "completions": 1,
    "since": NOON,
    "epoch": 4,
    "left_out": 0,
    "lives": 2,
    "deployments": 0,
}
RULE = rule_with(at_latest_every=timedelta(days=7), per_user_at_most=2, labels={"team": "support"})


def test_a_curation_that_was_stored_before_there_were_kinds_is_one_of_demonstrations() -> None:
    curation = CURATIONS.decode(IDENTITY, OLD, 1)

    assert (curation.rule, curation.incarnations, curation.epoch) == (RULE, 2, 4)
    added = {
        "kind": "demonstration",
        "rating_threshold": 0.0,
        "max_user_share": 0.0,
        "cohort_label": "",
        "max_cohort_share": 0.0,
        "max_repeats": 0,
        "exclude_contradicted": False,
        "min_rater_reliability": 0.0,
        "exclude_spam": False,
    }
    assert CURATIONS.encode(curation) == OLD | {"rule": OLD["rule"] | added, "authors": []}  # type: ignore[operator]


def test_a_rule_is_read_as_it_is_sent() -> None:
    rule = rule_with(
        kind=ExampleKind.PREFERENCE,
        at_latest_every=timedelta(days=7),
        labels={"team": "support"},
        max_user_share=0.1,
        cohort_label="country",
        max_cohort_share=0.3,
        max_repeats=2,
        exclude_contradicted=True,
        min_rater_reliability=0.2,
        exclude_spam=True,
    )
    curation = Curation(id="sft", project="acme", rule=rule, since=NOON, labels={"team": "support"})

    message = curation_message(
        Overview(curation=curation, counts=Counts(new=2, examples=5, refused={"CONTRADICTED": 1}))
    )

    assert rule_of(message) == rule
    assert (message.progress.new_examples, message.progress.examples) == (2, 5)
    assert dict(message.progress.refused) == {"CONTRADICTED": 1}
    assert unsent(pb.Curation, Rule) == set()


def test_a_rule_without_a_kind_is_one_of_demonstrations_and_a_long_time_is_no_error_of_ours() -> None:
    message = pb.Curation(id="sft")
    message.at_latest_every.seconds = 315_576_000_000

    rule = rule_of(message)

    assert rule.kind is ExampleKind.DEMONSTRATION
    assert rule.at_latest_every is not None
