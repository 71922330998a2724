"""A collection of another project is searched while it is shared, and is absent otherwise."""

import json

import pytest

from services.rag.tests.fakes import ADA, EVE, Rag
from tidemill_kit.access.grants import Grants, Shared
from tidemill_kit.access.revocations import Revocations
from tidemill_rag.errors import CollectionNotFound

NAME = f"{ADA.project}/handbook"


def grant(seq: int = 1, **changes: object) -> bytes:
    """Return the record by which acme shares its handbook with eve's project."""
    given = {"id": "g", "project": ADA.project, "resource_kind": "RESOURCE_KIND_COLLECTION", "resource": "handbook"}
    return json.dumps({**given, "grantee": EVE.project, "seq": seq, **changes}).encode()


class Sharing(Rag):
    """A rag that knows grants."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.grants = Grants(Revocations())
        object.__setattr__(
            self.search_passages.one,
            "shared",
            lambda project, name: self.grants.resolve(project, Shared.COLLECTION, name),
        )


@pytest.fixture
async def rag() -> Sharing:
    rag = Sharing()
    rag.ingest.put("open", "words for all")
    rag.ingest.put("closed", "words for some", readers=("group:staff",))
    await rag.handbook()
    return rag


async def test_a_shared_collection_is_searched_without_what_has_readers(rag: Sharing) -> None:
    rag.grants.apply(grant())

    assert await rag.found("words", caller=EVE, collection=NAME, principals=("group:staff",)) == ["open"]
    own = await rag.found("words", principals=("group:staff",))
    assert sorted(own) == ["closed", "open"]


@pytest.mark.parametrize("given", ["nothing", "another kind", "revoked"])
async def test_what_is_not_shared_is_as_absent(rag: Sharing, given: str) -> None:
    if given == "another kind":
        rag.grants.apply(grant(resource_kind="RESOURCE_KIND_MODEL"))
    if given == "revoked":
        rag.grants.apply(grant(1))
        rag.grants.apply(grant(2, revoked=True))
    texts = set()

    for name in (NAME, f"{ADA.project}/absent", "nowhere/handbook"):
        with pytest.raises(CollectionNotFound) as refused:
            await rag.search("words", caller=EVE, collection=name)
        texts.add(str(refused.value).replace(name, "?"))

    assert len(texts) == 1


async def test_a_shared_collection_that_is_gone_names_nothing_else_of_its_owner(rag: Sharing) -> None:
    rag.grants.apply(grant(resource="gone"))

    with pytest.raises(CollectionNotFound) as refused:
        await rag.search("words", caller=EVE, collection=f"{ADA.project}/gone")

    assert "handbook" not in str(refused.value)


async def test_a_name_of_one_s_own_means_the_same_with_and_without_the_project(rag: Sharing) -> None:
    assert await rag.found("words", collection=NAME) == await rag.found("words") == ["open"]
