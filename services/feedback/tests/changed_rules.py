"""What tests of curations change, and how an example is called."""

from services.feedback.tests.builders import ADA, request, rule_with
from services.feedback.tests.harness import FeedbackHarness
from tidemill_core.application import derived_id
from tidemill_feedback.curations.crud import UpdateCommand


def example_id(inference: str) -> str:
    return derived_id("acme", "sft", inference)


async def change(harness: FeedbackHarness, **rule: object) -> None:
    command = UpdateCommand(
        curation="sft", rule=rule_with(**rule), fields=frozenset(rule), version=0, request=request()
    )
    await harness.update(ADA, command)
