"""Monitor as a process on real servers, through its public APIs only."""

import asyncio
import contextlib
import json
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
from aiokafka import AIOKafkaProducer
from joserfc.jwk import OKPKey

from services.monitor.tests.story import Story
from tidemill.monitor.v1 import access_pb2
from tidemill.monitor.v1 import access_service_pb2 as access_rpcs
from tidemill.monitor.v1 import lineage_service_pb2 as pb
from tidemill.monitor.v1.access_service_pb2_grpc import AccessServiceStub
from tidemill.monitor.v1.lineage_service_pb2_grpc import LineageServiceStub
from tidemill_core.application import derived_id
from tidemill_core.errors import AlreadyExists, NotFound, PermissionDenied, PreconditionFailed, Unauthenticated
from tidemill_core.grpc.client import open_channel
from tidemill_kit.access.documents import key_set_of
from tidemill_kit.access.errors import CredentialRevoked
from tidemill_kit.access.keys import IssuerKeys, KeyTimes
from tidemill_kit.access.revocations import Revocations
from tidemill_kit.access.tokens import Claims, Token, signed
from tidemill_kit.events.cloudevents import CloudEvent, to_headers
from tidemill_kit.events.kafka import read_topic
from tidemill_kit.store.mongo import connect
from tidemill_kit.store.objects import ExchangeBucket, ObjectStore
from tidemill_local import Addresses
from tidemill_testkit.access import admin_channel
from tidemill_testkit.crash_suite import outlives_a_kill
from tidemill_testkit.polling import eventually
from tidemill_testkit.ports import free_port
from tidemill_testkit.service_process import ServiceProcess
from tidemill_testkit.stack import unique_name


@dataclass(kw_only=True)
class MonitorProcess(ServiceProcess):
    """Monitor as operators run it, on the stack's servers."""

    service = "monitor"
    http_port: int = field(default_factory=free_port)
    keys: bool = True
    own_issuer: bool = False
    """Whether calls need a credential that it issues itself, and none of the tests' installation."""

    def _settings(self) -> dict[str, str]:
        return {
            "FEEDBACK_BUCKET": self.database,
            "BATCH_POLL_INTERVAL_S": "0.5",
            "HTTP_PORT": str(self.http_port),
            **({"SIGNING_KEYS_FILE": str(self.signing_keys), "ISSUER": self.issuer} if self.keys else {}),
            **({"ACCESS_ISSUERS": self.issuer} if self.own_issuer else {}),
        }

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def signing_keys(self) -> Path:
        """A file with a key, which is made when it is first needed."""
        file = self.folder / "signing-keys.json"
        if not file.exists():
            file.touch(mode=0o600)
            key = OKPKey.generate_key("Ed25519", auto_kid=True)
            file.write_text(json.dumps({"keys": [key.as_dict(private=True)]}))
        return file


@pytest.fixture
async def store(stack: Addresses) -> ObjectStore:
    return ObjectStore(stack.s3.endpoint, stack.s3.access_key, stack.s3.secret_key, secure=False)


@pytest.fixture
async def monitor(stack: Addresses, store: ObjectStore, tmp_path: Path) -> AsyncIterator[MonitorProcess]:
    process = MonitorProcess(stack=stack, folder=tmp_path)
    await store.ensure_bucket(process.database)
    await asyncio.to_thread(process.start)
    yield process
    assert await asyncio.to_thread(process.stop) == 0
    client = connect(stack.mongo, timeout_s=10)
    await client.drop_database(process.database)
    client.close()
    await store.delete_prefix(process.database, "")


async def test_what_is_written_to_the_topics_is_reported_at_the_api(
    monitor: MonitorProcess, stack: Addresses, store: ObjectStore
) -> None:
    project, story = unique_name("acme"), Story()
    example = {"id": "e", "feedback": "fb-1", "inference": "inf-1", "question": "What?"}
    ref = await ExchangeBucket(store, monitor.database).put(
        project, "helpdesk_sft", json.dumps(example).encode(), media_type="application/jsonl"
    )
    batch = {"bucket": ref.bucket, "key": ref.key, "size": str(ref.size), "sha256": ref.sha256, "examples": 1}
    named = {"curation": "helpdesk_sft", "dataset": "helpdesk_sft", "deployment": "helpdesk", "new_examples": 1}
    story.answer("inf-1")
    story.record("feedback.curation.completed", "helpdesk_sft", **named, batch=batch)
    story.publish()
    await write(stack, project, story)

    async with admin_channel(f"127.0.0.1:{monitor.port}", project=project) as channel:
        stub = LineageServiceStub(channel)
        asked = pb.GetLineageRequest(kind="dataset_version", id="helpdesk_sft@1", direction=pb.LINEAGE_DIRECTION_BACK)
        deadline = time.monotonic() + 120
        kinds: set[str] = set()
        updates: list[str] = []
        while not {"feedback", "document_version"} <= kinds or len(updates) < 2:
            assert time.monotonic() < deadline, (kinds, updates)
            await asyncio.sleep(0.1)
            try:
                kinds = {node.kind for node in (await stub.GetLineage(asked)).nodes}
                timeline = await stub.GetTimeline(pb.GetTimelineRequest(deployment="helpdesk"))
                updates = [entry.event.split(".")[-2] for entry in timeline.entries]
            except NotFound:
                continue

    assert kinds >= {"dataset_version", "curation", "deployment", "feedback", "inference", "model_version"}
    assert updates == ["completed", "version_published"]


async def write(stack: Addresses, project: str, story: Story) -> None:
    async with AIOKafkaProducer(bootstrap_servers=stack.kafka, acks="all") as producer:
        for event in story.events:
            body = json.dumps(event.data).encode()
            sent = CloudEvent(
                id=derived_id(project, event.type, event.subject),
                source="/tests",
                type=event.type,
                subject=event.subject,
                project=project,
                time=event.time,
                data=body,
            )
            key = f"{project}/{event.subject}".encode()
            await producer.send_and_wait(event.topic, body, key=key, headers=list(to_headers(sent)))


@dataclass(frozen=True)
class Answers:
    """Answers of one model, as inference publishes them."""

    process: MonitorProcess
    project: str
    topics: Sequence[str] = ()

    async def send(self, piece: str) -> None:
        story = Story()
        story.answer(piece, documents=("d1",))
        await write(self.process.stack, self.project, story)

    async def done(self) -> Sequence[str]:
        asked = pb.GetLineageRequest(kind="model_version", id="smollm2@1", direction=pb.LINEAGE_DIRECTION_FORWARD)
        async with admin_channel(f"127.0.0.1:{self.process.port}", project=self.project) as channel:
            found = await LineageServiceStub(channel).GetLineage(asked)
        return [node.id for node in found.nodes if node.kind == "inference"]


async def test_each_answer_is_in_the_lineage_once_whenever_the_process_is_killed(monitor: MonitorProcess) -> None:
    await outlives_a_kill(Answers(monitor, unique_name("acme")), noticed=False)


TOPIC = "tidemill.monitor.access.v1"


async def with_account(stub: AccessServiceStub, project: str) -> None:
    """Create the project and a service account, unless they are there."""
    with contextlib.suppress(AlreadyExists):
        await stub.CreateProject(access_rpcs.CreateProjectRequest(project=access_pb2.Project(id=project)))
    account = access_pb2.ServiceAccount(id="ci", roles=["contributor"])
    with contextlib.suppress(AlreadyExists):
        await stub.CreateServiceAccount(access_rpcs.CreateServiceAccountRequest(service_account=account))


async def test_a_key_is_verified_by_the_published_keys_and_refused_once_it_is_revoked(monitor: MonitorProcess) -> None:
    project = unique_name("acme").replace("_", "-")
    async with admin_channel(f"127.0.0.1:{monitor.port}", project=project) as channel:
        stub = AccessServiceStub(channel)
        await with_account(stub, project)
        key = access_pb2.ApiKey(id="laptop", service_account="ci")
        token = (await stub.CreateApiKey(access_rpcs.CreateApiKeyRequest(api_key=key))).token
        claims = await verified(token, monitor.issuer)
        accepted, refused = await revocations(monitor), await revocations(monitor)
        accepted.check(claims)
        await stub.RevokeApiKey(access_rpcs.RevokeApiKeyRequest(id="laptop"))

        async def announced() -> bool:
            nonlocal refused
            refused = await revocations(monitor)
            return refused.count > accepted.count

        await eventually(announced)

    assert (claims.project, claims.subject) == (project, "service_account:ci")
    with pytest.raises(CredentialRevoked):
        refused.check(claims)
    database = connect(monitor.stack.mongo, timeout_s=10)[monitor.database]
    stored = [str(each) for name in ("api_keys", "projects") for each in await database[name].find().to_list(None)]
    assert stored
    assert not [text for text in [*stored, monitor.log.read_text()] if token in text or token.split(".")[2] in text]


async def verified(token: str, issuer: str) -> Claims:
    """Return what a token says, as services verify it: by discovery of the issuer's keys."""
    read = Token.read(token)
    keys = IssuerKeys(issuer, key_set_of(issuer, ""), KeyTimes())
    key = await keys.key(read.key_id)
    return read.verified(key, audience="tidemill", leeway_s=30, now=time.time(), first_party=True)


async def revocations(monitor: MonitorProcess) -> Revocations:
    """Return what the topic says of tokens; grants, holds and retentions, also of other tests, are none of it."""
    found = Revocations()
    async for record in read_topic(monitor.stack.kafka, TOPIC):
        found.apply(record.value or b"")
    found.complete = True
    return found


@dataclass(frozen=True)
class RevokedKeys:
    """Keys that are issued and revoked."""

    process: MonitorProcess
    project: str
    topics: Sequence[str] = (TOPIC,)

    async def send(self, piece: str) -> None:
        async with admin_channel(f"127.0.0.1:{self.process.port}", project=self.project) as channel:
            stub = AccessServiceStub(channel)
            await with_account(stub, self.project)
            key = access_pb2.ApiKey(id=piece, service_account="ci")
            with contextlib.suppress(AlreadyExists):
                await stub.CreateApiKey(access_rpcs.CreateApiKeyRequest(api_key=key))
            await stub.RevokeApiKey(access_rpcs.RevokeApiKeyRequest(id=piece))

    async def done(self) -> Sequence[str]:
        names = [
            json.loads(record.value or b"{}")["id"]
            async for record in read_topic(self.process.stack.kafka, TOPIC)
            if dict(record.headers)["ce_project"].decode() == self.project
        ]
        async with admin_channel(f"127.0.0.1:{self.process.port}", project=self.project) as channel:
            keys = (await AccessServiceStub(channel).ListApiKeys(access_rpcs.ListApiKeysRequest())).api_keys
        return [each.id for each in keys if each.credential in names]


async def test_each_revocation_is_announced_whenever_the_process_is_killed(monitor: MonitorProcess) -> None:
    await outlives_a_kill(RevokedKeys(monitor, unique_name("acme").replace("_", "-")))


async def test_without_signing_keys_all_but_issuing_works(stack: Addresses, tmp_path: Path) -> None:
    process = MonitorProcess(stack=stack, folder=tmp_path, keys=False)
    await asyncio.to_thread(process.start)
    project = unique_name("acme").replace("_", "-")
    async with admin_channel(f"127.0.0.1:{process.port}", project=project) as channel:
        stub = AccessServiceStub(channel)
        await with_account(stub, project)
        key = access_pb2.ApiKey(id="laptop", service_account="ci")
        with pytest.raises(PreconditionFailed, match="MONITOR_SIGNING_KEYS_FILE") as refused:
            await stub.CreateApiKey(access_rpcs.CreateApiKeyRequest(api_key=key))
        with pytest.raises(PreconditionFailed, match="MONITOR_IDENTITY_PROVIDER"):
            await stub.ExchangeToken(access_rpcs.ExchangeTokenRequest(project=project))
    assert refused.value.reason == "ISSUING_NOT_CONFIGURED"
    assert await asyncio.to_thread(process.stop) == 0
    client = connect(stack.mongo, timeout_s=10)
    await client.drop_database(process.database)
    client.close()


def admin_token(monitor: MonitorProcess) -> str:
    """Return the credential of an installation's admin, as who holds the signing key makes it."""
    (key,) = json.loads(monitor.signing_keys.read_text())["keys"]
    now = time.time()
    claims = Claims(
        issuer=monitor.issuer,
        subject="user:root",
        project="*",
        id=str(uuid.uuid4()),
        issue_time=now,
        expire_time=now + 600,
        roles=frozenset({"installation_admin"}),
    )
    return signed(claims, OKPKey.import_key(key))


async def test_a_key_opens_what_its_roles_allow_until_it_is_revoked(stack: Addresses, tmp_path: Path) -> None:
    process = MonitorProcess(stack=stack, folder=tmp_path, own_issuer=True)
    await asyncio.to_thread(process.start)
    project = unique_name("acme").replace("_", "-")

    async def listed(credential: str) -> bool:
        async with channel(process, "", credential) as opened:
            return bool((await AccessServiceStub(opened).ListMembers(access_rpcs.ListMembersRequest())).members)

    async with channel(process, project, admin_token(process)) as opened:
        stub = AccessServiceStub(opened)
        await with_account(stub, project)
        key = access_pb2.ApiKey(id="laptop", service_account="ci")
        token = (await stub.CreateApiKey(access_rpcs.CreateApiKeyRequest(api_key=key))).token
        assert await listed(token), "the key names the project; its first admin is who created it"
        async with channel(process, "", token) as by_key:
            with pytest.raises(PermissionDenied, match="admin") as denied:
                await AccessServiceStub(by_key).CreateApiKey(access_rpcs.CreateApiKeyRequest(api_key=key))
            found = await AccessServiceStub(by_key).WhoAmI(access_rpcs.WhoAmIRequest())
        async with channel(process, "another", token) as elsewhere:
            with pytest.raises(PermissionDenied):
                await AccessServiceStub(elsewhere).ListMembers(access_rpcs.ListMembersRequest())
        await stub.RevokeApiKey(access_rpcs.RevokeApiKeyRequest(id="laptop"))
        with pytest.raises(Unauthenticated) as refused:
            await eventually(lambda: gone(listed(token)))

    assert (denied.value.reason, refused.value.reason) == ("ROLE_REQUIRED", "CREDENTIAL_REVOKED")
    assert (found.subject, found.project, list(found.roles)) == ("service_account:ci", project, ["contributor"])
    assert found.credential
    with pytest.raises(Unauthenticated):
        await listed(token + "x")
    assert token not in process.log.read_text()
    assert await asyncio.to_thread(process.stop) == 0
    client = connect(stack.mongo, timeout_s=10)
    await client.drop_database(process.database)
    client.close()


async def gone(accepted: Awaitable[bool]) -> bool:
    """Return whether something is accepted no longer, as long as the answer is no error."""
    return not await accepted


def channel(process: MonitorProcess, project: str, credential: str) -> grpc.aio.Channel:
    return open_channel(f"127.0.0.1:{process.port}", project=project, credential=lambda: credential)
