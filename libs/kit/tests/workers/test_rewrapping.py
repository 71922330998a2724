from dataclasses import dataclass

import pytest
from structlog.testing import capture_logs

from tidemill_core.application import Page, Request, ResourceKey
from tidemill_core.envelope import Encrypted
from tidemill_core.errors import NotFound
from tidemill_kit.mapping import DocumentCodec
from tidemill_kit.store.envelope import Keyring
from tidemill_kit.workers.rewrapping import rewrapping
from tidemill_testkit.polling import eventually
from tidemill_testkit.stores import InMemoryAggregates

OLD = "b2xkIG9sZCBvbGQgb2xkIG9sZCBvbGQgb2xkIG9sZCE="
NEW = "bmV3IG5ldyBuZXcgbmV3IG5ldyBuZXcgbmV3IG5ldyE="


@dataclass(slots=True, kw_only=True)
class Held(Encrypted):
    """What has an encrypted value."""


async def pending(_token: str, /, *, without: frozenset[str]) -> Page[ResourceKey]:
    return Page(items=[each for each in [ResourceKey(project="acme", id="a")] if each.project not in without])


@pytest.mark.parametrize(
    ("keys", "event", "under"),
    [(f"{NEW} {OLD}", "envelope_rewrapped", NEW), (NEW, "envelope_not_rewrapped", OLD)],
    ids=["with both keys", "without the old key"],
)
async def test_a_value_is_put_under_the_newest_key_or_the_log_names_why_not(keys: str, event: str, under: str) -> None:
    store = InMemoryAggregates[Held](codec=DocumentCodec(Held), missing=NotFound)
    held = Held(id="a", project="acme", envelope=Keyring.of(OLD).seal(b"value", "acme"))
    await store.add(held, request=Request.internal())
    controller = rewrapping("secret", store, Keyring.of(keys), pending)

    with capture_logs() as logs:
        await controller.start()
        await eventually(lambda: [each for each in logs if each["event"] == event and each["kind"] == "secret"])
        await controller.stop()

    stored = (await store.get("acme", "a")).envelope
    assert stored is not None
    assert Keyring.of(under).open(stored, "acme") == b"value"
