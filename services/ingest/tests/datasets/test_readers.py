"""Examples show passages: who may not read these exports nothing of them."""

import pytest

from services.ingest.tests.datasets.examples import message, numbered
from services.ingest.tests.datasets.fakes import Datasets
from services.ingest.tests.documents.test_readers import BOB, OPERATOR, READER, filled
from tidemill_core.application import Caller
from tidemill_ingest.errors import ExamplesRestricted

REFERENCE = "helpdesk_sft@1"


async def with_examples_of_hr() -> Datasets:
    """Return a dataset with examples that show a document for `group:hr`, and others."""
    ingest, secret = await filled()
    datasets = await Datasets(ingest=ingest).declared()
    shown = [message(f"What does {n} earn?", f"{n} euros.", cites=[(secret, 1)], at=n) for n in range(9)]
    await datasets.turned([*shown, *numbered(9), message("Unknown?", "No.", cites=[("never-heard-of", 1)])])
    return datasets


@pytest.mark.parametrize("caller", [READER, OPERATOR, Caller.of_service("acme", "trainer")])
async def test_a_part_is_exported_by_readers_of_all_that_it_shows_and_by_who_acts_for_users(caller: Caller) -> None:
    datasets = await with_examples_of_hr()

    assert b"euros" in await datasets.reading.part(caller, REFERENCE, "train")


async def test_for_others_a_part_that_shows_a_restricted_document_is_refused_without_a_name() -> None:
    datasets = await with_examples_of_hr()

    for part in ("train", "held_out"):
        with pytest.raises(ExamplesRestricted, match=rf"^\d+ examples of {REFERENCE} show documents") as refused:
            await datasets.reading.part(BOB, REFERENCE, part)
        assert refused.value.reason == "EXAMPLES_RESTRICTED"


async def test_what_shows_nothing_restricted_is_exported_by_contributors() -> None:
    datasets = await Datasets().declared()
    await datasets.turned(numbered(20))

    assert await datasets.reading.part(BOB, REFERENCE, "train")
