"""The public keys over HTTP."""

import json
from pathlib import Path

import httpx
import pytest
from joserfc.jwk import OKPKey
from starlette.applications import Starlette

from services.monitor.tests.lineage.test_grpc import settings
from tidemill_kit.http.application import application
from tidemill_kit.http.rpc import error_response
from tidemill_monitor.access.http import WellKnown
from tidemill_monitor.access.signing import ALGORITHMS, NoIssuer, signing_keys
from tidemill_monitor.settings import MonitorSettings
from tidemill_testkit.access import access_of

ISSUER = "http://127.0.0.1:8080"


def served(well_known: WellKnown) -> Starlette:
    return application(
        well_known.routes(),
        dependencies=[],
        error_response=error_response,
        served="here",
        access=access_of(),
        admission=None,
        hosts=(),
        hosts_setting="MONITOR_HTTP_HOSTS",
    )


def client(well_known: WellKnown) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=served(well_known)), base_url="http://localhost")


async def test_the_keys_are_found_by_discovery_without_a_project_and_without_a_credential(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    key = OKPKey.generate_key("Ed25519", {"kid": "a"})
    file.write_text(json.dumps({"keys": [key.as_dict(private=True)]}))
    file.chmod(0o600)
    keys = signing_keys(file, issuer=ISSUER, audience="tidemill")
    async with client(WellKnown(issuer=ISSUER, keys=keys.public, algorithms=ALGORITHMS)) as http:
        found = (await http.get("/.well-known/openid-configuration")).json()
        published = await http.get(found["jwks_uri"].removeprefix(ISSUER))
        health = await http.get("/healthz/live")

    assert found["issuer"] == ISSUER
    assert [each["kid"] for each in published.json()["keys"]] == ["a"]
    assert str(key.as_dict(private=True)["d"]) not in published.text
    assert health.status_code == 200


async def test_without_keys_nothing_is_discovered() -> None:
    none = NoIssuer()
    async with client(WellKnown(issuer=none.issuer, keys=none.public, algorithms=ALGORITHMS)) as http:
        answers = [await http.get(f"/.well-known/{name}") for name in ("jwks.json", "openid-configuration")]

    assert [each.status_code for each in answers] == [404, 404]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"signing_keys_file": "/keys.json"}, "SIGNING_KEYS_FILE needs ISSUER"),
        ({"issuer": "tidemill"}, "must be an http or https address"),
        ({"identity_provider": "idp", "identity_client_id": "cli"}, "must be an http or https address"),
        ({"installation_admins": "group:ops,ada@example.org"}, "'ada@example.org': write user:<name> or group:<name>"),
        ({"identity_provider": "https://idp.test"}, "belong together"),
        ({"max_key_lifetime_days": 366}, "less than or equal to 365"),
        ({"token_lifetime_s": 3601}, "less than or equal to 3600"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(given: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        MonitorSettings.model_validate(settings().model_dump() | given)


def test_an_empty_file_of_keys_in_the_environment_is_none() -> None:
    given = settings().model_dump() | {"signing_keys_file": "", "installation_admins": "user:a, group:b"}
    read = MonitorSettings.model_validate(given)

    assert read.signing_keys_file is None
    assert read.installation_admins == ("user:a", "group:b")
