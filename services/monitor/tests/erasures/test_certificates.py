"""Reports become a certificate, which is stored, recorded and compared."""

import json
from datetime import timedelta
from hashlib import sha256

import pytest

from services.monitor.tests.erasures.harness import ADA, BUCKET, EVE, Erasing, report
from tidemill_core.application import Request, ResourceKey
from tidemill_core.errors import DependencyUnavailable, InvalidInput
from tidemill_monitor.access.domain.project import Project, ProjectState
from tidemill_monitor.erasures.domain.certificate import certificate_of
from tidemill_monitor.erasures.domain.erasure import SERVICES, ErasureState, ErasureWasCertified
from tidemill_monitor.errors import CertificateChanged, CertificateMissing, ErasureNotCompleted, ErasureNotFound
from tidemill_testkit.clocks import NOON


async def test_an_erasure_is_completed_by_the_report_of_the_last_service_and_no_earlier() -> None:
    erasing = Erasing()
    erasure = await erasing.of_user()

    await erasing.all_report(erasure, but="rag")
    await erasing.certify(ResourceKey(project="acme", id=erasure.id))
    waiting = await erasing.read.get(ADA, erasure.id)
    with pytest.raises(ErasureNotCompleted, match="rag have not reported"):
        await erasing.read.certificate(ADA, erasure.id)
    assert erasing.enqueued == []
    await erasing.record("acme", erasure.id, report("rag", at=NOON + timedelta(hours=1), passages=7))

    assert (waiting.state, list(waiting.erasure.awaited_services)) == (ErasureState.PENDING, ["rag"])
    assert erasing.enqueued == [ResourceKey(project="acme", id=erasure.id)]
    await erasing.certify(erasing.enqueued[0])
    done = await erasing.read.get(ADA, erasure.id)
    assert done.state is ErasureState.COMPLETED
    assert done.erasure.complete_time == NOON + timedelta(hours=1, minutes=1)


async def test_the_certificate_says_what_was_erased_where_and_its_digest_is_published() -> None:
    erasing = Erasing()
    done = await erasing.completed(await erasing.of_user())

    content, digest = await erasing.read.certificate(ADA, done.id)
    said = json.loads(content)

    assert digest == sha256(content).hexdigest() == done.certificate_sha256
    event = erasing.store.published[-1]
    assert isinstance(event, ErasureWasCertified)
    assert (event.certificate_sha256, event.subject_digest) == (digest, sha256(b"acme/u-17").hexdigest())
    assert (said["id"], said["project"], said["scope"]) == (done.id, "acme", "end_user")
    assert (said["requester"], said["subject_sha256"]) == ("user:ada", sha256(b"acme/u-17").hexdigest())
    assert set(said["services"]) == set(SERVICES)
    assert said["services"]["rag"] == {
        "complete_time": "2026-01-01T12:01:00.000Z",
        "start_time": "2026-01-01T12:00:00.000Z",
        "erased": {"documents": 1},
    }
    assert [each["until"] for each in said["ages_out"]] == ["2026-01-31T12:01:00.000Z", "2026-01-08T12:01:00.000Z"]
    for missing in ("backups", "copies", "models learned"):
        assert any(missing in each for each in said["not_covered"])
    assert content == json.dumps(said, sort_keys=True, separators=(",", ":")).encode(), "canonical"


async def test_the_end_user_s_id_is_gone_with_the_completion() -> None:
    erasing = Erasing()
    done = await erasing.completed(await erasing.of_user("ada@example.org"))

    content, _ = await erasing.read.certificate(ADA, done.id)

    assert "ada@example.org" not in repr(done) + content.decode()
    assert done.subject_digest == sha256(b"acme/ada@example.org").hexdigest()


async def test_a_report_that_comes_again_or_another_of_the_same_service_changes_nothing() -> None:
    erasing = Erasing()
    erasure = await erasing.of_user()

    for found in (report("rag", passages=3), report("rag", passages=3), report("rag", passages=0)):
        await erasing.record("acme", erasure.id, found)

    (only,) = (await erasing.store.get("acme", erasure.id)).reports
    assert [(each.kind, each.count) for each in only.counts] == [("passages", 3)]


async def test_a_report_of_an_unknown_erasure_project_or_service_is_refused() -> None:
    erasing = Erasing()
    erasure = await erasing.of_user()

    for project, name, service in (("acme", "absent", "rag"), ("globex", erasure.id, "rag"), ("acme", erasure.id, "x")):
        with pytest.raises(InvalidInput):
            await erasing.record(project, name, report(service))

    assert (await erasing.store.get("acme", erasure.id)).reports == ()


async def test_what_breaks_off_between_certificate_and_completion_is_done_again_to_the_same_bytes() -> None:
    erasing = Erasing()
    erasure = await erasing.of_user()
    await erasing.all_report(erasure)
    earlier = certificate_of(await erasing.store.get("acme", erasure.id))
    await erasing.objects.put(BUCKET, f"acme/{erasure.id}/{sha256(earlier).hexdigest()}", earlier, media_type="x")

    erasing.clock.advance(timedelta(hours=3))
    await erasing.certify(ResourceKey(project="acme", id=erasure.id))
    await erasing.certify(ResourceKey(project="acme", id=erasure.id))

    assert len(erasing.objects.buckets[BUCKET]) == 1
    assert len([each for each in erasing.store.published if isinstance(each, ErasureWasCertified)]) == 1


async def test_while_the_object_store_is_down_the_erasure_waits_for_its_certificate() -> None:
    erasing = Erasing()
    await erasing.deleted_project()
    (erasure,) = erasing.store.all()
    await erasing.all_report(erasure)
    del erasing.objects.buckets[BUCKET]

    with pytest.raises(DependencyUnavailable):
        await erasing.certify(ResourceKey(project="acme", id=erasure.id))

    assert (await erasing.store.get("acme", erasure.id)).certifiable
    assert (await erasing.project_store.get("acme", "acme")).state is ProjectState.DELETING


async def test_a_certificate_that_is_missing_or_changed_is_said_to_be() -> None:
    erasing = Erasing()
    done = await erasing.completed(await erasing.of_user())
    (key,) = erasing.objects.buckets[BUCKET]

    erasing.objects.buckets[BUCKET][key] += b" "
    with pytest.raises(CertificateChanged, match="was changed"):
        await erasing.read.certificate(ADA, done.id)
    del erasing.objects.buckets[BUCKET][key]
    with pytest.raises(CertificateMissing, match=done.certificate_sha256):
        await erasing.read.certificate(ADA, done.id)
    with pytest.raises(ErasureNotFound):
        await erasing.read.certificate(EVE, done.id)


async def test_a_project_is_deleted_when_everything_of_it_is_erased_and_keeps_its_id() -> None:
    erasing = Erasing()
    await erasing.deleted_project()
    (erasure,) = erasing.store.all()

    await erasing.completed(erasure)

    project = await erasing.project_store.get("acme", "acme")
    assert project.state is ProjectState.DELETED
    assert (project.members, project.display_name, project.revoked) == ((), "", {})
    assert project.deletion is not None
    assert project.deletion.requester == "user:root"


async def test_the_members_of_a_project_that_is_in_use_are_never_erased() -> None:
    erasing = Erasing()
    await erasing.project_store.add(Project(id="acme", project="acme", display_name="A"), request=Request.internal())

    assert await erasing.projects.erase("acme") == 0
    await erasing.projects.finish("acme")

    project = await erasing.project_store.get("acme", "acme")
    assert (project.state, project.display_name) == (ProjectState.ACTIVE, "A")
