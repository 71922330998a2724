"""What an administrator of Kafka does: access control lists, and users of SCRAM.

aiokafka has the requests of ACLs and of SCRAM's protocol types, its admin client has calls for neither.
"""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError, for_code
from aiokafka.protocol.admin import CreateAclsRequest, DescribeAclsRequest
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    CompactArray,
    CompactBytes,
    CompactString,
    Int8,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

from tidemill_core.errors import DependencyUnavailable, PreconditionFailed
from tidemill_core.transport_security import KafkaServers
from tidemill_kit.events.acls import Acl
from tidemill_kit.events.connection import client_options, unavailable
from tidemill_kit.events.records import KAFKA, milliseconds

_RESOURCES = {2: "topic", 3: "group", 4: "cluster", 5: "transactional-id", 6: "delegation-token", 7: "user"}
_PATTERNS = {3: "literal", 4: "prefixed"}
_OPERATIONS = dict(
    enumerate(
        [
            *("ALL", "READ", "WRITE", "CREATE", "DELETE", "ALTER", "DESCRIBE", "CLUSTER_ACTION"),
            *("DESCRIBE_CONFIGS", "ALTER_CONFIGS", "IDEMPOTENT_WRITE", "CREATE_TOKENS", "DESCRIBE_TOKENS"),
        ],
        start=2,
    )
)
_PERMISSIONS = {2: "deny", 3: "allow"}
_ANY = 1
_SCRAM_SHA_512 = 2
_ITERATIONS = 8192
_SALT_BYTES = 32
_TIMEOUT_S = 15.0
_SHOWN_INTERVAL_S = 0.05


class AdministrationRefused(PreconditionFailed):
    """Kafka does not do what an administrator asks for."""

    reason = "KAFKA_ADMINISTRATION_REFUSED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """How a table and a broker's entries compared, before what was missing was added."""

    added: Sequence[Acl]
    there: int
    """How many entries of the table were there already."""
    others: Sequence[Acl]
    """Entries of the broker that concern Tidemill and that the table does not have; they are left as they are."""


class Administrator:
    """Kafka, as an administrator speaks to it."""

    def __init__(self, client: AIOKafkaAdminClient, servers: KafkaServers, *, timeout_s: float) -> None:
        self._client = client
        self._servers = servers
        self._timeout_s = timeout_s

    async def topics(self) -> list[str]:
        """Return the names of all topics."""
        return sorted(await self._client.list_topics())

    async def acls(self) -> set[Acl]:
        """Return all entries.

        Raises:
            AdministrationRefused: Kafka does not give them.

        """
        reply = await self._send(DescribeAclsRequest(_ANY, None, _ANY, None, None, _ANY, _ANY))
        self._check(reply.error_code, reply.error_message, "list the ACLs")
        return {
            Acl(
                principal=principal,
                operation=_OPERATIONS.get(operation, str(operation)),
                resource=_RESOURCES.get(resource, str(resource)),
                pattern=_PATTERNS.get(pattern, str(pattern)),
                name=name,
                host=host,
                permission=_PERMISSIONS.get(permission, str(permission)),
            )
            for resource, name, pattern, entries in reply.resources
            for principal, host, operation, permission in entries
        }

    async def apply(self, table: Collection[Acl], *, dry_run: bool = False) -> Applied:
        """Add what is missing of a table, and return once the broker goes by it; nothing is ever removed.

        Raises:
            AdministrationRefused: Kafka does not take an entry.
            DependencyUnavailable: The broker does not go by the entries in time.

        """
        present, desired = await self.acls(), set(table)
        missing = sorted(desired - present)
        if missing and not dry_run:
            reply = await self._send(_CreateAcls([_encoded(each) for each in missing]))
            for entry, (code, why) in zip(missing, reply.creation_responses, strict=True):
                self._check(code, why, f"add the ACL {entry}")
            await self._until_shown(missing)
        others = sorted(each for each in present - desired if each.is_ours)
        return Applied(added=missing, there=len(desired & present), others=others)

    async def _until_shown(self, entries: Collection[Acl]) -> None:
        """Wait for the broker: the controller acknowledges an entry before brokers have it from its log."""
        try:
            async with asyncio.timeout(self._timeout_s):
                while not set(entries) <= await self.acls():  # noqa: ASYNC110 - Kafka notifies no one of it
                    await asyncio.sleep(_SHOWN_INTERVAL_S)
        except TimeoutError:
            message = f"Kafka took {len(entries)} ACLs and does not go by them after {self._timeout_s:g} s"
            raise DependencyUnavailable(message, dependency=KAFKA) from None

    async def put_users(self, passwords: Mapping[str, str]) -> None:
        """Create users of SCRAM-SHA-512, or give them these passwords.

        Raises:
            AdministrationRefused: Kafka does not take one.

        """
        reply = await self._client._send_to_controller(_AlterScram(passwords))  # noqa: SLF001 - it has no call for it
        for user, code, why, _ in reply.results:
            self._check(code, why, f"create the user {user}")

    async def _send(self, request: Request[Any]) -> Any:  # noqa: ANN401 - aiokafka types no replies
        return await self._client._send_request(request)  # noqa: SLF001 - it has no call for it

    def _check(self, code: int, why: str | None, what: str) -> None:
        if code:
            message = f"Kafka does not let {self._servers.principal} {what}: {why or for_code(code).__name__}"
            raise AdministrationRefused(message)


@asynccontextmanager
async def administrator(servers: KafkaServers, *, timeout_s: float = _TIMEOUT_S) -> AsyncIterator[Administrator]:
    """Connect as an administrator.

    Raises:
        DependencyUnavailable: Kafka does not answer, or refuses the client; says which.

    """
    client = AIOKafkaAdminClient(**client_options(servers), request_timeout_ms=milliseconds(timeout_s))
    try:
        await client.start()
        yield Administrator(client, servers, timeout_s=timeout_s)
    except NotImplementedError as error:  # of an API that the server does not have
        message = f"Kafka does not have this API: {error}"
        raise DependencyUnavailable(message, dependency=KAFKA) from error
    except (KafkaError, OSError, TimeoutError) as error:
        raise await unavailable(servers, error) from error
    finally:
        await client.close()


def _encoded(entry: Acl) -> tuple[int, str, int, str, str, int, int]:
    return (
        _code(_RESOURCES, entry.resource),
        entry.name,
        _code(_PATTERNS, entry.pattern),
        entry.principal,
        entry.host,
        _code(_OPERATIONS, entry.operation),
        _code(_PERMISSIONS, entry.permission),
    )


def _code(names: Mapping[int, str], name: str) -> int:
    found = next((code for code, each in names.items() if each == name), None)
    if found is None:
        message = f"an ACL has {name!r}; use one of {', '.join(names.values())}"
        raise AdministrationRefused(message)
    return found


class _CreateAcls(CreateAclsRequest):  # type: ignore[misc]  # aiokafka has no types
    """Many entries at once; aiokafka's own takes one."""

    def __init__(self, entries: Sequence[tuple[int, str, int, str, str, int, int]]) -> None:
        self._entries = entries

    def build(self, request_struct_class: type[Any]) -> Any:  # noqa: ANN401 - as aiokafka has it
        return request_struct_class(list(self._entries))


class _AlterScramReplyV0(Response):  # type: ignore[misc]  # aiokafka has no types
    API_KEY = 51
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "results",
            CompactArray(
                ("user", CompactString("utf-8")),
                ("error_code", Int16),
                ("error_message", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _AlterScramV0(RequestStruct):  # type: ignore[misc]  # aiokafka has no types
    FLEXIBLE_VERSION = True
    API_KEY = 51
    API_VERSION = 0
    RESPONSE_TYPE = _AlterScramReplyV0
    SCHEMA = Schema(
        (
            "deletions",
            CompactArray(("name", CompactString("utf-8")), ("mechanism", Int8), ("tags", TaggedFields)),
        ),
        (
            "upsertions",
            CompactArray(
                ("name", CompactString("utf-8")),
                ("mechanism", Int8),
                ("iterations", Int32),
                ("salt", CompactBytes),
                ("salted_password", CompactBytes),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _AlterScram(Request[_AlterScramV0]):  # type: ignore[misc]  # aiokafka has no types
    """AlterUserScramCredentials: Kafka gets a salted hash of each password."""

    API_KEY = 51

    def __init__(self, passwords: Mapping[str, str]) -> None:
        self._passwords = passwords

    def build(self, request_struct_class: type[Any]) -> Any:  # noqa: ANN401 - as aiokafka has it
        return request_struct_class([], [_user(*each) for each in self._passwords.items()], {})


def _user(name: str, password: str) -> tuple[str, int, int, bytes, bytes, dict[int, bytes]]:
    salt = os.urandom(_SALT_BYTES)
    salted = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _ITERATIONS)
    return name, _SCRAM_SHA_512, _ITERATIONS, salt, salted, {}
