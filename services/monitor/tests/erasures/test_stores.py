"""Erasures on a real database and object store: what is stored, found and erased."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from services.monitor.tests.erasures.harness import DUE, report
from tidemill_core.application import Request
from tidemill_kit.erasure.erasures import REQUESTS
from tidemill_kit.store.aggregates import MongoAggregates
from tidemill_kit.store.mongo import Database
from tidemill_kit.store.objects import ExchangeBucket, ObjectStore
from tidemill_local import Addresses
from tidemill_monitor.access.domain.project import Project
from tidemill_monitor.access.messages import TOPIC as ACCESS
from tidemill_monitor.access.mongo import PROJECTS
from tidemill_monitor.erasures.domain.erasure import SERVICES, Erasure, ErasureScope, Subject
from tidemill_monitor.erasures.mongo import ERASURES, MongoDueErasures, certifiable_erasures, deleting_projects
from tidemill_monitor.erasures.objects import ObjectCertificates
from tidemill_monitor.errors import CertificateChanged, CertificateMissing, ErasureNotFound, ProjectNotFound
from tidemill_testkit.buckets import remove_bucket
from tidemill_testkit.clocks import NOON
from tidemill_testkit.stack import unique_name


def erasures_in(database: Database) -> MongoAggregates[Erasure]:
    return MongoAggregates(
        database["erasure_requests"],
        codec=ERASURES,
        topic=REQUESTS,
        source="/tidemill/monitor",
        missing=ErasureNotFound,
    )


def requested(end_user: str, *, hours: int = 0) -> Erasure:
    subject = Subject(project="acme", scope=ErasureScope.END_USER, id=end_user)
    time = NOON + timedelta(hours=hours)
    return Erasure.requested(subject, number=0, requester="user:ada", request_time=time, due=DUE)


async def test_an_erasure_is_read_as_it_was_saved_and_its_request_waits_for_the_topic(database: Database) -> None:
    erasures = erasures_in(database)
    saved = await erasures.add(requested("u-17"), request=Request.internal())
    changed = await erasures.update(
        "acme", saved.id, lambda found: found.record(report("rag", passages=3)), request=Request.internal()
    )

    assert await erasures.get("acme", saved.id) == changed
    document = await database["erasure_requests"].find_one({"_id": f"acme/{saved.id}"})
    assert document is not None
    assert [(each["topic"], each["key"]) for each in document["outbox"]] == [(REQUESTS, f"acme/{saved.id}")]


async def test_those_that_all_have_reported_and_those_that_are_due_are_found(database: Database) -> None:
    erasures, due = erasures_in(database), MongoDueErasures(database["erasure_requests"])
    pending = certifiable_erasures(database["erasure_requests"])
    await due.ensure_indexes()
    await pending.ensure_indexes()
    late = [await erasures.add(requested(f"u-{n}", hours=n), request=Request.internal()) for n in range(3)]

    def all_report(found: Erasure) -> None:
        for service in SERVICES:
            found.record(report(service))

    await erasures.update("acme", late[1].id, all_report, request=Request.internal())

    page = await pending("", without=frozenset())
    assert [each.id for each in page.items] == [late[1].id]
    found = await due.pending_before(NOON + DUE + timedelta(hours=2), limit=10)
    assert [each.id for each in found] == [late[0].id, late[1].id]
    assert len(await due.pending_before(NOON + DUE + timedelta(hours=9), limit=2)) == 2


async def test_projects_that_are_being_deleted_are_found_until_they_are_deleted(database: Database) -> None:
    projects = MongoAggregates(
        database["projects"], codec=PROJECTS, topic=ACCESS, source="/tidemill/monitor", missing=ProjectNotFound
    )
    pending = deleting_projects(database["projects"])
    await pending.ensure_indexes()
    for name in ("acme", "globex"):
        await projects.add(Project(id=name, project=name), request=Request.internal())

    def delete(found: Project) -> None:
        found.begin_deletion("user:root", now=NOON, lifetime=timedelta(days=1))

    deleted = await projects.update("acme", "acme", delete, request=Request.internal())
    assert [each.id for each in (await pending("", without=frozenset())).items] == ["acme"]
    assert (await projects.get("acme", "acme")).deletion == deleted.deletion

    await projects.update("acme", "acme", lambda found: found.finish_deletion(), request=Request.internal())
    assert not (await pending("", without=frozenset())).items


@pytest.fixture
async def bucket(stack: Addresses) -> AsyncIterator[tuple[ObjectStore, str]]:
    objects = ObjectStore(stack.s3.endpoint, stack.s3.access_key, stack.s3.secret_key, secure=False)
    name = unique_name("monitor")
    await objects.ensure_bucket(name)
    yield objects, name
    await remove_bucket(stack, name)


async def test_a_certificate_is_compared_with_its_digest(bucket: tuple[ObjectStore, str]) -> None:
    objects, name = bucket
    certificates = ObjectCertificates(ExchangeBucket(objects, name))
    ref = await certificates.put("acme", "er-1", b"{}")

    assert await certificates.get("er-1", ref) == b"{}"
    assert ref.key.startswith("acme/er-1/")
    await objects.put(name, ref.key, b"[]", media_type="application/json")
    with pytest.raises(CertificateChanged):
        await certificates.get("er-1", ref)
    await objects.delete(name, ref.key)
    with pytest.raises(CertificateMissing):
        await certificates.get("er-1", ref)
