"""Stored form of prompt tests, and the unfinished ones."""

from tidemill_evaluator.evaluations.domain.job import UNFINISHED
from tidemill_evaluator.prompt_tests.domain.prompt_test import PromptTest
from tidemill_kit.mapping import DocumentCodec
from tidemill_kit.store.mongo import Collection
from tidemill_kit.workers.pending import PendingDocuments

PROMPT_TESTS = DocumentCodec(PromptTest)


def unfinished_prompt_tests(tests: Collection) -> PendingDocuments:
    """Find the tests that are not finished."""
    return PendingDocuments(
        tests,
        {"state.state": {"$in": sorted(state.value for state in UNFINISHED)}, "deleted": False},
        index="state.state",
    )
