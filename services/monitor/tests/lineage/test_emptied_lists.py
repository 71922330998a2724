"""Edges whose lists were emptied, as erasures do, on the real store."""

import pytest

from services.monitor.tests.lineage.test_graphs import FORWARD
from tidemill_kit.store.mongo import Database
from tidemill_monitor.lineage.domain.graph import Ref
from tidemill_monitor.lineage.domain.kinds import VERSION_OF, Kind
from tidemill_monitor.lineage.mongo_edges import MongoEdges
from tidemill_monitor.lineage.mongo_ends import End


@pytest.mark.parametrize("added", ["one by one", "together"])
async def test_after_a_restart_a_list_that_was_emptied_is_not_begun_again(database: Database, added: str) -> None:
    def restarted() -> MongoEdges:
        return MongoEdges(database["edges"], database["places"], list_length=3)

    ends = [End("acme", Ref(Kind.DOCUMENT, name), VERSION_OF, FORWARD) for name in ("d1", "d2")]
    edges, (end, _) = restarted(), ends
    for number in range(1, 6):
        await edges.add(end, f"v{number}")
    for number in range(1, 4):
        await edges.remove(end, f"v{number}")

    edges = restarted()
    for other in ("v4", "v6"):
        each = [(one, other) for one in (ends if added == "together" else ends[:1])]
        await (edges.add_all(each) if added == "together" else edges.add(*each[0]))

    assert (await edges.read([end], limit=10))[end] == (("v4", "v5", "v6"), 3)
    await edges.remove(end, "v4")
    assert (await edges.read([end], limit=10))[end] == (("v5", "v6"), 2)
