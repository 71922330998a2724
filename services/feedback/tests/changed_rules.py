"""What tests of curations change, and how an example is called."""

from services.feedback.tests.builders import ADA, rule_with, write
from services.feedback.tests.harness import FeedbackHarness
from tidemill_core.application import derived_id


def example_id(inference: str) -> str:
    return derived_id("acme", "sft", inference)


async def change(harness: FeedbackHarness, **rule: object) -> None:
    await harness.crud.update(ADA, "sft", rule_with(**rule), frozenset(rule), write())
