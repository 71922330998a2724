"""ID tokens of an issuer of OpenID Connect."""

import json
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import OKPKey

from tidemill_core.errors import Unauthenticated
from tidemill_kit.access.errors import CredentialExpired, CredentialInvalid, KeysUnavailable
from tidemill_monitor.access.domain.tokens import Identity
from tidemill_monitor.access.identity_provider import OpenIdProvider
from tidemill_testkit.access import TestIssuer

OURS = {"aud": "cli", "project": None, "roles": None, "jti": None, "sub": "ada"}
"""What an ID token has in place of what our tokens have."""


@pytest.fixture
def issuer(tmp_path: Path) -> TestIssuer:
    return TestIssuer(tmp_path)


def provider(issuer: TestIssuer, **given: Any) -> OpenIdProvider:  # noqa: ANN401 - of any setting
    async def read() -> dict[str, Any]:
        found: dict[str, Any] = json.loads(issuer.file.read_text())
        return found

    return OpenIdProvider(issuer.issuer, client_id="cli", read=read, **given)


def id_token(issuer: TestIssuer, **claims: object) -> str:
    return issuer.odd(header={"typ": "JWT"}, claims=OURS | claims)


async def test_an_id_token_names_the_person_and_the_groups(issuer: TestIssuer) -> None:
    token = id_token(issuer, groups=["staff", "with space", 7, "x" * 201], azp="cli")

    assert await provider(issuer).identify(token) == Identity(name="ada", groups=("staff",))
    untyped = issuer.odd(header={"typ": None}, claims=OURS)
    assert await provider(issuer).identify(untyped) == Identity(name="ada")
    several = id_token(issuer, aud=["cli", "other"], azp="cli", groups="staff")
    assert await provider(issuer).identify(several) == Identity(name="ada")
    named = id_token(issuer, email="ada@example.org", email_verified=True, teams=["a"])
    by_email = provider(issuer, subject_claim="email", groups_claim="teams")
    assert await by_email.identify(named) == Identity(name="ada@example.org", groups=("a",))


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "another-client"},
        {"aud": ["cli", "another-client"]},
        {"aud": ["cli", "another-client"], "azp": "another-client"},
        {"azp": "another-client"},
        {"aud": None},
        {"iss": "https://other.test"},
        {"iat": None},
        {"nbf": 4_000_000_000},
        {"sub": None},
        {"sub": ""},
        {"sub": "with space"},
        {"sub": ["ada"]},
    ],
)
async def test_an_id_token_for_others_or_without_a_name_is_refused_without_a_reason(
    issuer: TestIssuer, claims: dict[str, object]
) -> None:
    with pytest.raises(CredentialInvalid) as refused:
        await provider(issuer).identify(id_token(issuer, **claims))

    assert refused.value.message == CredentialInvalid().message


async def test_forged_and_expired_tokens_are_refused(issuer: TestIssuer) -> None:
    foreign = OKPKey.generate_key("Ed25519", {"kid": str(issuer.key.kid)})

    for token in (issuer.odd(header={"typ": "JWT"}, claims=OURS, key=foreign), "", "a.b.c", "x" * 100_000):
        with pytest.raises(CredentialInvalid):
            await provider(issuer).identify(token)
    with pytest.raises(CredentialExpired):
        await provider(issuer).identify(id_token(issuer, exp=1_700_000_000))


@pytest.mark.parametrize("claims", [{"email": "ada@example.org"}, {"email": "a@b.c", "email_verified": "true"}, {}])
async def test_an_email_that_is_not_verified_gives_no_name(issuer: TestIssuer, claims: dict[str, object]) -> None:
    with pytest.raises(Unauthenticated):
        await provider(issuer, subject_claim="email").identify(id_token(issuer, **claims))


async def test_a_provider_that_does_not_answer_is_unavailable(issuer: TestIssuer) -> None:
    token = id_token(issuer)
    issuer.file.unlink()

    with pytest.raises(KeysUnavailable):
        await provider(issuer).identify(token)
