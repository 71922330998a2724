"""Documents with readers are found by those alone whom the credential names."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from services.rag.tests.collections.test_grpc import settings
from services.rag.tests.fakes import Rag
from tidemill.rag.v1 import retrieval_service_pb2
from tidemill.rag.v1.retrieval_service_pb2_grpc import RetrievalServiceStub, add_RetrievalServiceServicer_to_server
from tidemill_core.rights import ACT_FOR_USERS
from tidemill_rag.search.grpc import GrpcRetrievalService
from tidemill_testkit.access import TestIssuer, access_of
from tidemill_testkit.audit import RecordedCalls
from tidemill_testkit.direct_calls import DirectServer

QUERY = "os.walk walks a directory tree"
OPEN, ALL = ["open"], ["hr", "open"]


@dataclass(frozen=True, kw_only=True)
class Searching:
    """A rag with one document for everyone and one for `group:hr`."""

    stub: RetrievalServiceStub
    issuer: TestIssuer

    async def found(self, *roles: str, named: Sequence[str] = (), **claims: Any) -> list[str]:  # noqa: ANN401 - of any claim
        token = self.issuer.token("acme", *roles, **claims)
        request = retrieval_service_pb2.SearchRequest(collection="handbook", query=QUERY, principals=named)
        answer = await self.stub.Search(request, metadata=(("authorization", f"Bearer {token}"),))
        return sorted(passage.document for passage in answer.passages)


@pytest.fixture
async def rag(tmp_path: Path) -> AsyncIterator[Searching]:
    stored, issuer = Rag(), TestIssuer(tmp_path)
    stored.ingest.put("open", QUERY)
    stored.ingest.put("hr", f"{QUERY} of salaries", readers=("group:hr",))
    await stored.handbook()
    servicer = GrpcRetrievalService(search=stored.search_passages)
    server = DirectServer(
        settings(tmp_path),
        [(add_RetrievalServiceServicer_to_server, servicer)],
        access=access_of(issuer),
        audit=RecordedCalls(),
    )
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield Searching(stub=RetrievalServiceStub(channel), issuer=issuer)
    await server.stop(1)


async def test_a_search_has_the_principals_of_its_credential(rag: Searching) -> None:
    assert await rag.found("viewer") == OPEN
    assert await rag.found("viewer", groups=frozenset({"hr"})) == ALL
    assert await rag.found("viewer", groups=frozenset({"hr"}), named=["user:ada"]) == OPEN


@pytest.mark.parametrize("named", [["group:hr"], ["user:ada", "group:hr"]])
async def test_a_plain_key_that_names_another_group_is_refused(rag: Searching, named: list[str]) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await rag.found("contributor", named=named)

    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert "principals: " in str(refused.value.details())
    assert ACT_FOR_USERS in str(refused.value.details())


async def test_a_backend_and_an_operator_search_for_their_users(rag: Searching) -> None:
    may = frozenset({ACT_FOR_USERS})
    assert await rag.found("viewer", permissions=may, named=["group:hr"]) == ALL
    assert await rag.found("viewer", permissions=may, named=["group:sales"]) == OPEN
    assert await rag.found("operator", named=["group:hr"]) == ALL
