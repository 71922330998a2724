import asyncio

from services.rag.tests.fakes import Rag
from tidemill_rag.collections.domain.collection import IndexRef
from tidemill_rag.search.reconcile import StalePoints
from tidemill_testkit.polling import eventually

FIRST = IndexRef(project="acme", collection="handbook", number=1)


async def test_what_searches_found_stale_is_deleted() -> None:
    rag = Rag()
    rag.ingest.put("d1", "words", seq=2)
    await rag.handbook()
    stale = StalePoints(rag.vectors)
    task = asyncio.create_task(stale.run())

    async def deleted() -> bool:
        return not await rag.vectors.count(FIRST.key)

    stale.enqueue(FIRST, "d1", 3)
    await eventually(deleted)
    task.cancel()
