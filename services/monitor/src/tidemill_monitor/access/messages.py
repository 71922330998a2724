"""Mapping between access and its messages and events."""

from datetime import datetime

from google.protobuf.message import Message

from tidemill.monitor.v1 import access_events_pb2 as events
from tidemill.monitor.v1 import access_pb2 as pb
from tidemill_core.aggregate import Aggregate, Event
from tidemill_core.resources import etag_of
from tidemill_kit.mapping import from_message, to_message
from tidemill_monitor.access.api_key_crud import KeyOverview
from tidemill_monitor.access.domain.api_key import KeyRequest
from tidemill_monitor.access.domain.project import Member, Project
from tidemill_monitor.access.domain.resource_grant import GrantChanged, ResourceGrant
from tidemill_monitor.access.domain.revocations import CredentialsWereRevoked
from tidemill_monitor.access.domain.role import Role
from tidemill_monitor.access.domain.service_account import ServiceAccount

TOPIC = "tidemill.monitor.access.v1"
GRANT_CHANGED = "tidemill.monitor.access.grant_changed.v1"
REVOKED = "tidemill.monitor.access.credentials_revoked.v1"


def project_of(message: pb.Project) -> Project:
    """Return the project of a request."""
    return from_message(Project, message, prefix="project", project=message.id, ignore={"state"}, **_NO_MEMBERS)


_NO_MEMBERS: dict[str, object] = {"state": Project(id="", project="").state, "deletion": None}


def member_of(message: pb.Member) -> Member:
    """Return the member of a request."""
    return Member(id=message.id, subject=message.subject, roles=tuple(dict.fromkeys(message.roles)))


def member_message(member: Member, project: str) -> pb.Member:
    """Return a member as callers see it."""
    return to_message(pb.Member, member, project=project, etag=etag_of(member.version))


def service_account_of(message: pb.ServiceAccount, project: str) -> ServiceAccount:
    """Return the service account of a request."""
    return from_message(
        ServiceAccount,
        message,
        prefix="service_account",
        project=project,
        roles=tuple(dict.fromkeys(message.roles)),
        ignore={"subject"},
    )


def role_of(message: pb.Role, project: str) -> Role:
    """Return the role of a request."""
    return from_message(Role, message, prefix="role", project=project)


def key_request_of(message: pb.ApiKey) -> KeyRequest:
    """Return the key that a request asks for."""
    return from_message(
        KeyRequest,
        message,
        prefix="api_key",
        scopes=tuple(sorted(set(message.scopes))),
        ignore={"roles", "credential", "state", "revoke_time", "last_use_time"},
    )


def key_message(overview: KeyOverview) -> pb.ApiKey:
    """Return a key as callers see it."""
    return to_message(pb.ApiKey, overview.key, state=overview.state, last_use_time=overview.last_use_time)


def grant_message(grant: ResourceGrant, *, last_use_time: datetime | None = None) -> pb.Grant:
    """Return the message of a grant; only its owner sees when it was used."""
    return to_message(pb.Grant, grant, last_use_time=last_use_time)


def resource_grant_of(message: pb.Grant, project: str) -> ResourceGrant:
    """Return the grant of a request."""
    return from_message(ResourceGrant, message, prefix="grant", ignore={"last_use_time"}, project=project)


def access_payload(_: Aggregate, event: Event, seq: int) -> tuple[str, Message]:
    """Return the ce_type and the payload of an event of any aggregate of access."""
    if isinstance(event, GrantChanged):
        return GRANT_CHANGED, to_message(events.GrantChanged, event, seq=seq)
    if not isinstance(event, CredentialsWereRevoked):
        raise TypeError(event)
    return REVOKED, to_message(events.CredentialsRevoked, event, seq=seq)
