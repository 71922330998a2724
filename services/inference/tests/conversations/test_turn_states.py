"""How turns stand is read without what they say."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from services.inference.tests.generation.test_erase_end_user import answered, asked
from tidemill_core.application import Request
from tidemill_inference.conversations.mongo import MongoTurnStates
from tidemill_inference.generation.domain.errors import InferenceNotFound
from tidemill_inference.generation.domain.inference import State
from tidemill_inference.generation.mongo import INFERENCES
from tidemill_kit.store.aggregates import MongoAggregates
from tidemill_kit.store.mongo import Database, connect
from tidemill_local.addresses import Addresses
from tidemill_testkit.stack import unique_name


@pytest.fixture
async def database(stack: Addresses) -> AsyncIterator[Database]:
    client = connect(stack.mongo, timeout_s=10)
    yield client[unique_name("inference")]
    client.close()


async def test_states_of_turns_are_read_of_those_that_have_an_answer_or_will_have_one_and_nothing_else(
    database: Database,
) -> None:
    inferences = MongoAggregates(
        database["inferences"], codec=INFERENCES, topic="t", source="/s", missing=InferenceNotFound
    )
    for record in (
        answered("done"),
        asked("coming"),
        replace(asked("failed"), state=State.FAILED),
        replace(asked("gone"), deleted=True),
        answered("unasked"),
        answered("theirs", project="globex"),
    ):
        await inferences.add(record, request=Request.internal())
    await database["inferences"].update_many({}, {"$unset": {"state.messages": "", "state.output": ""}})

    found = await MongoTurnStates(database["inferences"])(
        "acme", ["done", "coming", "failed", "gone", "theirs", "unknown"]
    )

    assert found == {"done": State.COMPLETED, "coming": State.RESERVED}
