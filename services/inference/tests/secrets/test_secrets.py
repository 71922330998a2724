"""Secrets of projects: set, used for their hosts only, changed, deleted, and never readable again."""

import base64
from dataclasses import fields
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from services.inference.tests.fakes import ADA, writing
from services.inference.tests.secrets.keeping import API, CANARY, NEW_KEY, OLD_KEY, Keeping, setting
from tidemill.inference.v1 import secret_service_pb2 as pb
from tidemill_core.application import ResourceKey
from tidemill_core.errors import Conflict, InvalidInput, NotFound, PreconditionFailed, RequestIdReused
from tidemill_inference.secrets.domain.errors import SecretMissing, SecretsNotKept
from tidemill_inference.secrets.domain.secret import Secret
from tidemill_kit.store.envelope import EncryptionKeyMissing, EnvelopeBroken, Keyring
from tidemill_kit.workers.rewrapping import rewrap

DELETE = pb.DeleteSecretRequest(id="KEY")


def everything_stored(keeping: Keeping) -> str:
    """Return all that the store holds, also in base64 and as text in bytes."""
    return repr(keeping.store._documents.all())  # noqa: SLF001 - what is at rest


def traces_of(secret: str) -> list[str]:
    encoded = base64.b64encode(secret.encode()).decode().rstrip("=")
    return [secret, secret.encode().hex(), encoded[:-2]]


async def test_a_secret_is_used_for_its_hosts_by_its_project_only() -> None:
    keeping = Keeping()
    async with keeping.served() as clients:
        made = (await clients.acme.SetSecret(setting())).secret
        listed = (await clients.globex.ListSecrets(pb.ListSecretsRequest())).secrets

    assert (made.id, made.project, list(made.hosts), made.revision) == ("KEY", "acme", [API], 1)
    assert not listed
    assert await keeping.key_for() == CANARY
    for project, name, address in (
        ("globex", "KEY", API),
        ("acme", "OTHER", API),
        ("acme", "", API),
        ("acme", "KEY", "http://api.openai.com"),
        ("acme", "KEY", "https://api.openai.com:8443"),
        ("acme", "KEY", "https://api.openai.com.evil.example"),
        ("acme", "KEY", "https://evil.example"),
    ):
        with pytest.raises(SecretMissing):
            await keeping.key_for(project, name, address=address)


async def test_a_refusal_does_not_say_whether_there_is_a_secret() -> None:
    keeping = Keeping()
    said = []
    for _ in range(2):
        with pytest.raises(SecretMissing) as refused:
            await keeping.key_for(address="https://evil.example")
        said.append((refused.value.message, refused.value.metadata))
        async with keeping.served() as clients:
            await clients.acme.SetSecret(setting())
    assert said[0] == said[1]


async def test_nothing_that_is_returned_stored_or_logged_has_the_value(capfd: pytest.CaptureFixture[str]) -> None:
    keeping = Keeping()
    async with keeping.served() as clients:
        said: list[object] = [
            await clients.acme.SetSecret(setting(request_id="r-1")),
            await clients.acme.SetSecret(setting(validate_only=True)),
            await clients.acme.ListSecrets(pb.ListSecretsRequest()),
        ]
        for refused in (setting(CANARY + " "), setting(name="bad"), setting(hosts=["ftp://x"]), setting(etag="77")):
            with pytest.raises((InvalidInput, Conflict)) as error:
                await clients.acme.SetSecret(refused)
            said.append(error.value)
        said.append(await clients.acme.DeleteSecret(DELETE))
    said += [*keeping.store.all(), *keeping.audit.intents, *keeping.audit.ended]
    methods = [each.method.rpartition("/")[2] for each in keeping.audit.intents]
    assert methods.count("SetSecret") == 6  # audited, the refused ones too
    assert "DeleteSecret" in methods

    logged = "".join(capfd.readouterr())
    for trace in traces_of(CANARY):
        assert trace not in repr(said) + everything_stored(keeping) + logged


async def test_the_digest_that_is_kept_of_a_request_cannot_be_guessed_from_the_value() -> None:
    """A digest of the whole request would let readers of the store try values on it."""
    stored = []
    for key in (OLD_KEY, NEW_KEY):
        keeping = Keeping(keys=key)
        async with keeping.served() as clients:
            await clients.acme.SetSecret(setting(request_id="r-1"))
            await clients.acme.SetSecret(setting(request_id="r-1"))  # the same again is one
            with pytest.raises(RequestIdReused):
                await clients.acme.SetSecret(setting("sk-other", request_id="r-1"))
        (document,) = keeping.store._documents.all()  # noqa: SLF001 - what is at rest
        assert document["version"] == 1
        stored.append(document["requests"])
    assert stored[0] != stored[1]


async def test_a_changed_secret_counts_at_the_next_use_and_a_deleted_one_no_more() -> None:
    keeping = Keeping()
    async with keeping.served() as clients:
        await clients.acme.SetSecret(setting("sk-1"))
        assert await keeping.key_for() == "sk-1"
        await clients.acme.SetSecret(setting("sk-2", hosts=["api.openai.com", "http://127.0.0.1:8000"]))
        assert await keeping.key_for() == "sk-2"
        assert await keeping.key_for(address="http://127.0.0.1:8000") == "sk-2"
        assert (await clients.acme.DeleteSecret(DELETE)).secret.revision == 2
        with pytest.raises(SecretMissing):
            await keeping.key_for()
        with pytest.raises(NotFound):
            await clients.acme.DeleteSecret(DELETE)
        again = (await clients.acme.SetSecret(setting("sk-3"))).secret

    assert again.revision == 3
    assert await keeping.key_for() == "sk-3"


async def test_nothing_of_the_value_stays_of_a_deleted_secret() -> None:
    keeping = Keeping()
    async with keeping.served() as clients:
        await clients.acme.SetSecret(setting())
        await clients.acme.DeleteSecret(DELETE)
    (tombstone,) = keeping.store.all()
    assert (tombstone.deleted, tombstone.envelope) == (True, None)


async def test_the_operator_s_secret_wins_and_the_list_says_so() -> None:
    operator = {"INFERENCE_SECRET_ACME__KEY": "sk-operator", "INFERENCE_SECRET_ACME__KEY__HOSTS": API}
    keeping = Keeping(**operator)
    async with keeping.served() as clients:
        assert (await clients.acme.SetSecret(setting())).secret.overridden
        assert not (await clients.globex.SetSecret(setting())).secret.overridden
    assert await keeping.key_for() == "sk-operator"
    assert await keeping.key_for("globex") == CANARY


@pytest.mark.parametrize(
    "name", ["", "key", "1KEY", "_KEY", "KEY_", "A__B", "KEY-1", "KEY/..", "K" * 65, "KEY\n", "../acme/KEY", "ÄB"]
)
async def test_a_name_that_is_none_is_refused(name: str) -> None:
    async with Keeping().served() as clients:
        with pytest.raises(InvalidInput, match=r"secret\.id"):
            await clients.acme.SetSecret(setting(name=name))


@pytest.mark.parametrize("value", ["", " ", "sk 1", "sk-1\n", "sk-1\r\nx: y", "sk-\x00", "schlüssel", "x" * 4097])
async def test_a_value_that_is_none_is_refused_without_being_repeated(value: str) -> None:
    async with Keeping().served() as clients:
        with pytest.raises(InvalidInput) as refused:
            await clients.acme.SetSecret(setting(value))
    assert [each.field for each in refused.value.violations] == ["value"]
    assert not value.strip() or value not in str(refused.value.violations)


@pytest.mark.parametrize(
    "host",
    [
        "https://evil.example", "http://api.openai.com", "ftp://api.openai.com", "https://user@evil.example", "*", "",
        "http://10.0.0.1", "https://api.openai.com\\@evil.example", "https://127.0.0.1:8001", "https://api.openai.com.",
        "https://api.openai.com.evil.example", "http://169.254.169.254",
    ],
)  # fmt: skip
async def test_a_host_that_the_operator_does_not_allow_or_without_tls_is_refused(host: str) -> None:
    async with Keeping().served() as clients:
        if host == "https://api.openai.com.":  # the same host, spelled with its root
            assert list((await clients.acme.SetSecret(setting(hosts=[host]))).secret.hosts) == [API]
            return
        with pytest.raises(InvalidInput, match=r"secret\.hosts\[0\]"):
            await clients.acme.SetSecret(setting(hosts=[host]))


async def test_any_host_is_one_word_of_the_operator_and_tls_stays() -> None:
    async with Keeping(allowed=["*"]).served() as clients:
        await clients.acme.SetSecret(setting(hosts=["https://models.example:8443"]))
        with pytest.raises(InvalidInput, match="use https"):
            await clients.acme.SetSecret(setting(hosts=["http://models.example"]))
        with pytest.raises(InvalidInput, match="1 to 16"):
            await clients.acme.SetSecret(setting(hosts=[]))
        with pytest.raises(InvalidInput, match="1 to 16"):
            await clients.acme.SetSecret(setting(hosts=[f"h{number}.example" for number in range(17)]))


async def test_a_host_that_the_operator_takes_back_gets_the_secret_no_more() -> None:
    keeping = Keeping()
    async with keeping.served() as clients:
        await clients.acme.SetSecret(setting())
    keeping.restart(OLD_KEY, allowed=["api.mistral.ai"])
    with pytest.raises(SecretMissing):
        await keeping.key_for()


async def test_without_a_key_of_the_operator_nothing_is_kept() -> None:
    keeping = Keeping(keys="")
    async with keeping.served() as clients:
        with pytest.raises(PreconditionFailed, match="INFERENCE_SECRETS_KEY_FILE"):
            await clients.acme.SetSecret(setting())
        assert not (await clients.acme.ListSecrets(pb.ListSecretsRequest())).secrets
    with pytest.raises(SecretsNotKept):
        await keeping.crud.set(ADA, "KEY", CANARY, hosts=[API], labels={}, write=writing("r"))


async def test_labels_beyond_their_limits_are_refused() -> None:
    labels = {str(number): "" for number in range(33)}

    with pytest.raises(InvalidInput, match=r"secret\.labels: has 33 entries"):
        await Keeping().crud.set(ADA, "KEY", CANARY, hosts=[API], labels=labels, write=writing("r"))


async def test_a_rotated_key_takes_over_every_secret() -> None:
    keeping = Keeping()
    async with keeping.served() as clients:
        await clients.acme.SetSecret(setting())
    keeping.restart(f"{NEW_KEY} {OLD_KEY}")
    assert await keeping.key_for() == CANARY
    await rewrap(keeping.store, Keyring.of(f"{NEW_KEY} {OLD_KEY}"), ResourceKey(project="acme", id="KEY"))
    await rewrap(keeping.store, Keyring.of(NEW_KEY), ResourceKey(project="acme", id="ABSENT"))
    keeping.restart(NEW_KEY)
    assert await keeping.key_for() == CANARY


async def test_a_key_that_is_gone_is_named() -> None:
    keeping = Keeping()
    async with keeping.served() as clients:
        await clients.acme.SetSecret(setting())
    old = keeping.store.all()[0].envelope
    assert old is not None
    for keys in (NEW_KEY, ""):
        keeping.restart(keys)
        with pytest.raises(EncryptionKeyMissing, match=old.key_id):
            await keeping.key_for()


@pytest.mark.parametrize("change", ["hosts", "revision", "envelope", "project"])
async def test_what_is_changed_in_the_store_does_not_open(change: str) -> None:
    """Writers to the store must not redirect a secret, put an old one back, or move one."""
    keeping = Keeping(allowed=["*"])
    async with keeping.served() as clients:
        for value in ("sk-old", CANARY):
            await clients.acme.SetSecret(setting(value))
            await clients.acme.SetSecret(setting("sk-other", name="OTHER"))
        await clients.globex.SetSecret(setting("sk-globex"))
    (mine, other, foreign) = keeping.store.all()
    tampered = {
        "hosts": ("hosts", (API, "https://evil.example")),
        "revision": ("revision", 1),
        "envelope": ("envelope", other.envelope),
        "project": ("envelope", foreign.envelope),
    }[change]
    setattr(mine, *tampered)
    keeping.store._put(mine)  # noqa: SLF001 - past the use cases
    with pytest.raises(EnvelopeBroken):
        await keeping.key_for(address=API)


async def test_a_change_that_was_decided_on_another_revision_is_refused() -> None:
    async with Keeping().served() as clients:
        first = (await clients.acme.SetSecret(setting("sk-1"))).secret
        await clients.acme.SetSecret(setting("sk-2", etag=first.etag))
        with pytest.raises(Conflict):
            await clients.acme.SetSecret(setting("sk-3", etag=first.etag))
        with pytest.raises(Conflict):
            await clients.acme.DeleteSecret(pb.DeleteSecretRequest(id="KEY", etag=first.etag))


def messages(of: Descriptor) -> set[str]:
    """Return the fields of a message, at any depth."""
    found = {f"{of.name}.{each.name}" for each in of.fields}
    for each in of.fields:
        if each.message_type is not None and each.message_type.file.package.startswith("tidemill"):
            found |= messages(each.message_type)
    return found


def test_no_answer_has_a_field_for_the_value() -> None:
    service: Any = pb.DESCRIPTOR.services_by_name["SecretService"]
    answers = {field for method in service.methods for field in messages(method.output_type)}
    assert not {each for each in answers if each.endswith((".value", ".envelope", ".key")) and "Labels" not in each}
    value: FieldDescriptor = pb.SetSecretRequest.DESCRIPTOR.fields_by_name["value"]
    assert value.GetOptions().debug_redact


def test_what_is_stored_of_a_secret_is_what_this_test_knows() -> None:
    """A further field is stored in plain text: think before you add one."""
    own = {each.name for each in fields(Secret)} - {
        *("id", "project", "labels", "version", "seq", "create_time", "update_time", "deleted", "pending")
    }
    assert own == {"hosts", "revision", "envelope"}
