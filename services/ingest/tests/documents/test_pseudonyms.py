"""Documents of sources that have pseudonyms in place of identifiers, and who reads what they stand for."""

from dataclasses import dataclass, replace
from typing import Any, cast

import pytest

from services.ingest.tests.conftest import ApiClient
from services.ingest.tests.fakes import ACME, EXCHANGE, Ingest, deletion, spec, submitted
from services.ingest.tests.keys import NEW, OLD, project_secrets
from tidemill.ingest.v1 import document_service_pb2 as pb
from tidemill.ingest.v1 import source_pb2, source_service_pb2
from tidemill_core.application import Caller, Request, ResourceKey
from tidemill_core.errors import InvalidInput, PreconditionFailed
from tidemill_core.resources import Write
from tidemill_ingest.documents.domain.document import Document, DocumentState
from tidemill_ingest.documents.domain.submission import DocumentName
from tidemill_ingest.documents.preparation import prepare_document
from tidemill_ingest.documents.reveal_pseudonyms import Revealed
from tidemill_ingest.errors import (
    DocumentRefused,
    ProjectDeleted,
    PseudonymsNotKept,
    PseudonymsUnreadable,
    TextGone,
    VersionNotFound,
)
from tidemill_ingest.limits import Limits
from tidemill_ingest.masking.kinds import Masking
from tidemill_ingest.masking.tokens import TOKEN
from tidemill_ingest.pseudonyms.domain import KEY_ID, ProjectKey
from tidemill_ingest.pseudonyms.mongo import ProjectKeyNotFound
from tidemill_ingest.quality.policy import DuplicatePolicy, Quality
from tidemill_ingest.sources.domain import Source
from tidemill_kit.store.envelope import Keyring
from tidemill_kit.workers.rewrapping import rewrap

PSEUDONYMS = Masking.of([], none=False, pseudonyms=True)
ADMIN = Caller(project="acme", roles=frozenset({"admin"}))
LETTER = "Write to Ada@acme.example or call +49 30 901820."


async def pseudonymising(ingest: Ingest | None = None, *, masking: Masking = PSEUDONYMS) -> Ingest:
    return await (ingest or Ingest()).with_source(Source(id="cms", project="acme", masking=masking))


async def text_of(ingest: Ingest, document: Document, *, number: int = 0) -> str:
    return (await ingest.reading.text(ACME, document.id, number=number))[0].text


async def revealed(
    ingest: Ingest, document: Document, *tokens: str, caller: Caller = ADMIN, number: int = 0
) -> Revealed:
    return await ingest.reveal(caller, DocumentName(id=document.id), number=number, pseudonyms=tokens)


async def test_a_version_has_pseudonyms_and_says_what_they_stand_for_to_who_may_ask() -> None:
    ingest = await pseudonymising()
    document = await ingest.accept(ACME, submitted(LETTER, of=spec(title="From ada@acme.example")))
    text = await text_of(ingest, document)
    email, phone = TOKEN.findall(text)

    found = await revealed(ingest, document, phone, email, "[CARD:k3f9wq7hd2mzxp]", email)

    assert text == f"Write to {email} or call {phone}."
    assert list(found.values.items()) == [(phone, "+49 30 901820"), (email, "ada@acme.example")]
    assert (found.version, found.unknown) == (1, ["[CARD:k3f9wq7hd2mzxp]"])
    assert document.current is not None
    assert document.current.title == f"From {email}"
    assert document.current.provenance.masked == {"email": 2, "phone": 1}
    assert document.current.provenance.steps[-1].startswith("pseudonymise ")


async def test_what_they_stand_for_is_nowhere_in_the_clear() -> None:
    ingest = await pseudonymising()
    document = await ingest.accept(ACME, submitted(LETTER))

    stored = [*ingest.objects.buckets[EXCHANGE].values(), repr(document), repr(ingest.secrets.keys)]

    assert all("acme.example" not in repr(each).lower() for each in stored)
    assert all("901820" not in repr(each) for each in stored)


async def test_a_person_is_the_same_in_all_documents_of_a_project_and_in_no_other_project() -> None:
    ingest = await pseudonymising()
    await ingest.with_source(Source(id="cms", project="globex", masking=PSEUDONYMS))
    ours = [await ingest.accept(ACME, submitted(LETTER.lower(), of=spec(f"kb/{number}"))) for number in range(2)]
    theirs = await ingest.accept(replace(ACME, project="globex"), submitted(LETTER))

    first, second = [TOKEN.findall(await text_of(ingest, document)) for document in ours]
    others, _ = await ingest.reading.text(replace(ACME, project="globex"), theirs.id, number=0)

    assert first == second
    assert not set(first) & set(TOKEN.findall(others.text))


async def test_what_a_text_has_already_stays() -> None:
    ingest = await pseudonymising()
    said = "[EMAIL] and [EMAIL:k3f9wq7hd2mzxp] and [PERSON]"
    document = await ingest.accept(ACME, submitted(said))

    found = await revealed(ingest, document, "[EMAIL:k3f9wq7hd2mzxp]")

    assert await text_of(ingest, document) == said
    assert found.unknown == ["[EMAIL:k3f9wq7hd2mzxp]"]


async def test_a_table_of_people_is_in_the_language_of_its_words() -> None:
    source = Source(id="cms", project="acme", masking=PSEUDONYMS, quality=Quality(languages=("en",)))
    ingest = await Ingest().with_source(source)
    rows = [f"| {name} of the team | {name}@acme.example |" for name in ("first", "second", "third", "one", "two")]
    table = "\n".join(["| Who is to be asked | Address |", "| - | - |", *rows, *rows[:4]])

    document = await ingest.accept(ACME, submitted(table))

    assert document.state is DocumentState.ACTIVE


async def test_names_that_a_model_finds_have_pseudonyms_too() -> None:
    ingest = await pseudonymising(masking=Masking.of([], none=False, model="names@1", pseudonyms=True))
    document = await ingest.accept(ACME, submitted("Ask Ada Lovelace, ada@acme.example."))

    person, email = TOKEN.findall(await text_of(ingest, document))

    assert (await revealed(ingest, document, person, email)).values == {
        person: "Ada Lovelace",
        email: "ada@acme.example",
    }


async def test_a_change_of_the_policy_counts_when_the_document_is_sent_again() -> None:
    ingest = await Ingest().with_source()
    await ingest.accept(ACME, submitted(LETTER))

    def change(source: Source) -> None:
        source.masking = PSEUDONYMS

    await ingest.sources.update("acme", "cms", change, request=Request.internal())
    document = await ingest.accept(ACME, submitted(LETTER))

    assert document.current is not None
    assert document.current.number == 2
    assert len(TOKEN.findall(await text_of(ingest, document))) == 2


async def test_values_go_with_the_text_of_their_version_or_document() -> None:
    ingest = await pseudonymising()
    document = await ingest.accept(ACME, submitted(LETTER))
    [*_, token] = TOKEN.findall(await text_of(ingest, document))
    await ingest.accept(ACME, submitted("Nothing of people"))

    assert (await revealed(ingest, document, token)).unknown == [token]
    assert token in (await revealed(ingest, document, token, number=1)).values
    await ingest.delete(ACME, deletion(erase=True))

    for number in (1, 2):
        with pytest.raises(TextGone):
            await revealed(ingest, document, token, number=number)


async def test_values_of_another_version_do_not_open_in_its_place() -> None:
    ingest = await pseudonymising()
    first, second = [await ingest.accept(ACME, submitted(LETTER, of=spec(f"kb/{number}"))) for number in range(2)]
    assert first.current is not None
    assert second.current is not None
    [*_, token] = TOKEN.findall(await text_of(ingest, first))
    bucket = ingest.objects.buckets[EXCHANGE]
    moved = replace(first.current.object, key=second.current.object.key)

    def change(document: Document) -> None:
        assert document.current is not None
        document.versions = (replace(document.current, object=moved),)

    bucket[second.current.object.key] = bucket[first.current.object.key]
    await ingest.documents.update("acme", second.id, change, request=Request.internal())

    with pytest.raises(PseudonymsUnreadable):
        await revealed(ingest, second, token)


async def test_a_document_with_readers_is_revealed_to_these_alone() -> None:
    ingest = await pseudonymising()
    document = await ingest.accept(ACME, submitted(LETTER, of=replace(spec(), readers=("group:hr",))))
    await ingest.accept(ACME, submitted(LETTER + " Soon.", of=spec()))
    [*_, token] = TOKEN.findall(await text_of(ingest, document, number=1))
    auditor = Caller(project="acme", subject="user:eve", roles=frozenset({"auditor"}))

    with pytest.raises(VersionNotFound):
        await revealed(ingest, document, token, caller=auditor, number=1)
    assert token in (await revealed(ingest, document, token, caller=auditor)).values


@pytest.mark.parametrize("tokens", [(), ("[EMAIL]",), ("ada@acme.example",), ("[EMAIL:k3f9wq7hd2mzxp]",) * 101])
async def test_what_is_no_pseudonym_is_refused_and_not_repeated(tokens: tuple[str, ...]) -> None:
    ingest = await pseudonymising()
    document = await ingest.accept(ACME, submitted(LETTER))

    with pytest.raises(InvalidInput, match="pseudonyms") as refused:
        await revealed(ingest, document, *tokens)

    assert "ada@" not in str(refused.value)


async def test_a_document_with_too_many_is_refused() -> None:
    ingest = await pseudonymising(Ingest(limits=Limits(pseudonyms=2)))

    with pytest.raises(DocumentRefused, match="holds 3 different identifiers to be pseudonymised, and 2 is the limit"):
        await ingest.accept(ACME, submitted(f"{LETTER} bob@acme.example"))

    await ingest.accept(ACME, submitted(f"{LETTER} ada@acme.example"))
    assert len(ingest.texts_stored()) == 1


async def test_near_duplicates_are_found_however_their_identifiers_are_written() -> None:
    quality = Quality(duplicates=DuplicatePolicy.KEEP)
    ingest = await Ingest().with_source(Source(id="cms", project="acme", masking=PSEUDONYMS, quality=quality))
    words = " ".join(f"word{number}" for number in range(60))
    original = await ingest.accept(ACME, submitted(f"{words} {LETTER}"))

    other = await ingest.accept(ACME, submitted(f"{words} {LETTER.lower()}".replace("write", "Write"), of=spec("kb/2")))

    assert other.current is not None
    assert other.current.duplicate is not None
    assert (other.current.duplicate.document, other.current.duplicate.similarity) == (original.id, 1.0)


def test_what_is_inside_of_a_file_is_named_by_placeholders_as_its_keys_stay() -> None:
    mail = (
        b"From: ada@acme.example\nSubject: x\nContent-Type: multipart/mixed; boundary=b\n\n"
        b"--b\nContent-Type: text/plain\n\nHello\n--b\nContent-Type: text/plain\n"
        b'Content-Disposition: attachment; filename="ada@acme.example.txt"\n\nOne\n--b--\n'
    )

    prepared = prepare_document(spec(media_type="message/rfc822"), mail, PSEUDONYMS, tokens_key=bytes(32))

    [member] = prepared.members
    assert member.path.startswith("[EMAIL]")
    assert TOKEN.search(prepared.text)


@dataclass
class BeforeTheOther:
    """Keys as a process reads them right before another one makes the first."""

    keys: Any

    async def get(self, project: str, name: str) -> ProjectKey:
        assert project
        raise ProjectKeyNotFound(name)

    async def upsert(self, *arguments: Any, **named: Any) -> ProjectKey:  # noqa: ANN401 - of the port
        key: ProjectKey = await self.keys.upsert(*arguments, **named)
        return key


async def test_of_two_processes_that_make_the_first_key_one_wins() -> None:
    ingest = await pseudonymising()
    racing = [replace(ingest.secrets, keys=cast("Any", BeforeTheOther(ingest.secrets.keys))) for _ in range(2)]

    made = [await each.get(ACME, create=True) for each in racing]
    again = await ingest.secrets.get(ACME, create=True)

    assert {each.tokens_key for each in made} == {again.tokens_key}


async def test_trying_a_submission_makes_no_key() -> None:
    ingest = await pseudonymising()

    shown = await ingest.accept(ACME, replace(submitted(LETTER, of=spec(title="ada@acme.example")), validate_only=True))

    assert shown.current is not None
    assert TOKEN.fullmatch(shown.current.title)
    assert not ingest.secrets.keys.all()  # type: ignore[attr-defined]  # in memory


async def test_a_deleted_project_gets_no_key() -> None:
    ingest = await pseudonymising()
    ingest.projects.gone.add("acme")

    with pytest.raises(ProjectDeleted):
        await ingest.accept(ACME, submitted(LETTER))
    assert not ingest.secrets.keys.all()  # type: ignore[attr-defined]  # in memory


async def test_pseudonyms_stay_what_they_are_under_another_key_of_the_operator() -> None:
    ingest = await pseudonymising()
    document = await ingest.accept(ACME, submitted(LETTER))
    tokens = TOKEN.findall(await text_of(ingest, document))

    def under(operator: str) -> Ingest:
        secrets = replace(ingest.secrets, seals=Keyring.of(operator))
        ingest.accept, ingest.reveal = replace(ingest.accept, secrets=secrets), replace(ingest.reveal, secrets=secrets)
        return ingest

    with pytest.raises(PreconditionFailed, match="add it to SECRETS_KEY_FILE again"):
        await revealed(under(NEW), document, *tokens)
    both = Keyring.of(f"{NEW} {OLD}")
    await rewrap(ingest.secrets.keys, both, ResourceKey(project="acme", id=KEY_ID))
    await rewrap(ingest.secrets.keys, both, ResourceKey(project="globex", id=KEY_ID))  # erased meanwhile

    assert len((await revealed(under(NEW), document, *tokens)).values) == 2
    again = await ingest.accept(ACME, submitted(LETTER, of=spec("kb/2")))
    assert TOKEN.findall(await text_of(ingest, again)) == tokens


async def test_without_a_key_of_the_operator_there_are_no_pseudonyms() -> None:
    ingest = await pseudonymising()
    secrets = project_secrets(ingest.projects, ingest.clock, operator="")
    managing = replace(ingest.managing, pseudonyms=False)
    write = Write(request=Request.internal())

    with pytest.raises(PseudonymsNotKept, match="INGEST_SECRETS_KEY_FILE"):
        await managing.create(ACME, Source(id="mails", project="acme", masking=PSEUDONYMS), write)
    with pytest.raises(PseudonymsNotKept):
        await replace(ingest.accept, secrets=secrets)(ACME, submitted(LETTER))
    assert not ingest.texts_stored()


async def test_the_audit_record_of_a_reveal_has_the_number_and_no_value(client: ApiClient) -> None:
    source = source_pb2.Source(id="mails", masking=source_pb2.Masking(pseudonyms=True))
    made = await client.sources.CreateSource(source_service_pb2.CreateSourceRequest(source=source))
    document = pb.DocumentSpec(source="mails", key="kb/1", media_type="text/plain")
    created = await client.documents.CreateDocument(pb.CreateDocumentRequest(spec=document, content=LETTER.encode()))
    text = (await client.documents.GetDocumentText(pb.GetDocumentTextRequest(id=created.document.id))).text
    asked = [*TOKEN.findall(text), "[CARD:k3f9wq7hd2mzxp]"]

    request = pb.RevealPseudonymsRequest(source="mails", key="kb/1", pseudonyms=asked)
    reply = await client.documents.RevealPseudonyms(request)

    [call] = [each for each in client.audit.ended if each.method.endswith("/RevealPseudonyms")]
    assert (made.source.masking.pseudonyms, list(made.source.masking.kinds)) == (True, list(PSEUDONYMS.names))
    assert [each.value for each in reply.revealed] == ["Ada@acme.example", "+49 30 901820"]
    assert list(reply.unknown) == asked[2:]
    assert call.items == 2
    assert "acme.example" not in repr(call.record("ingest", end_time=call.begin_time))
