"""Tokens are signed by the first key of a file that only its owner may read."""

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OctKey, OKPKey, RSAKey

from tidemill_kit.access.installation import AccessFiles
from tidemill_kit.access.tokens import MAX_TOKEN
from tidemill_monitor.access.domain.tokens import TOKEN_BYTES, TokenClaims
from tidemill_monitor.access.signing import ALGORITHMS, NoIssuer, SigningKeys, SigningKeysUnusable, signing_keys
from tidemill_monitor.errors import IssuingNotConfigured
from tidemill_testkit.clocks import NOON

pytestmark = pytest.mark.filterwarnings("ignore:EdDSA is deprecated")

CLAIMS = TokenClaims(
    subject="service_account:ci",
    project="acme",
    roles=("viewer", "asker"),
    permissions=("tidemill.rag.v1.RetrievalService/Search",),
    credential="0c7a4f5e",
    issue_time=NOON,
    expire_time=NOON + timedelta(days=1),
)
ED, OTHER_ED = OKPKey.generate_key("Ed25519", {"kid": "a"}), OKPKey.generate_key("Ed25519")
EC, RSA = ECKey.generate_key("P-256"), RSAKey.generate_key(2048)


def written(path: Path, *keys: Any, mode: int = 0o600) -> Path:  # noqa: ANN401 - keys of any kind
    file = path / "keys.json"
    file.write_text(json.dumps({"keys": [key.as_dict(private=key.is_private) for key in keys]}))
    file.chmod(mode)
    return file


def read(path: Path) -> SigningKeys:
    return signing_keys(path, issuer="https://tidemill.test", audience="tidemill")


def test_tokens_are_issued_up_to_the_size_that_services_take() -> None:
    assert TOKEN_BYTES == MAX_TOKEN


def test_the_key_of_a_new_installation_signs(tmp_path: Path) -> None:
    files = AccessFiles(tmp_path)
    files.write([])

    key, _ = read(files.signing_keys).keys

    assert key.is_private


def test_a_token_says_what_services_verify(tmp_path: Path) -> None:
    keys = read(written(tmp_path, ED))

    token = jwt.decode(keys.issue(CLAIMS), KeySet.import_key_set(keys.public), algorithms=[*ALGORITHMS])  # type: ignore[arg-type]

    assert token.header == {"alg": "EdDSA", "kid": "a", "typ": "at+jwt"}
    assert token.claims == {
        "iss": "https://tidemill.test",
        "aud": "tidemill",
        "sub": "service_account:ci",
        "project": "acme",
        "roles": ["asker", "viewer"],
        "permissions": ["tidemill.rag.v1.RetrievalService/Search"],
        "iat": int(NOON.timestamp()),
        "nbf": int(NOON.timestamp()),
        "exp": int(NOON.timestamp()) + 86_400,
        "jti": "0c7a4f5e",
    }


def test_the_certificate_of_a_publisher_has_its_key_and_an_audience_that_no_api_takes(tmp_path: Path) -> None:
    keys = read(written(tmp_path, ED))
    made = replace(CLAIMS, public_key="A" * 43, event_source="https://cms.example/kb")

    claims = jwt.decode(keys.issue(made), ED, algorithms=["EdDSA"]).claims

    assert claims["aud"] == "tidemill:events"
    assert claims["cnf"] == {"jwk": {"kty": "OKP", "crv": "Ed25519", "x": "A" * 43}}
    assert claims["event_source"] == "https://cms.example/kb"


@pytest.mark.parametrize(("key", "algorithm"), [(EC, "ES256"), (RSA, "RS256"), (OTHER_ED, "EdDSA")])
def test_a_key_of_each_kind_signs_and_gets_a_name_by_its_thumbprint(
    key: Any,  # noqa: ANN401 - keys of any kind
    algorithm: str,
    tmp_path: Path,
) -> None:
    keys = read(written(tmp_path, key))

    token = jwt.decode(keys.issue(CLAIMS), KeySet.import_key_set(keys.public), algorithms=[algorithm])  # type: ignore[arg-type]

    assert token.header == {"alg": algorithm, "kid": key.thumbprint(), "typ": "at+jwt"}


def test_the_first_key_signs_and_all_are_published_without_their_private_parts(tmp_path: Path) -> None:
    keys = read(written(tmp_path, EC, ED, RSA))

    published: Any = keys.public["keys"]

    assert jwt.decode(keys.issue(CLAIMS), EC, algorithms=["ES256"]).header["kid"] == EC.thumbprint()
    assert [each["kty"] for each in published] == ["EC", "OKP", "RSA"]
    assert not {"d", "p", "q", "dp", "dq", "qi"} & {name for each in published for name in each}
    private = [str(key.as_dict(private=True)["d"]) for key in (EC, ED, RSA)]
    assert not [d for d in private if d in repr(keys) + str(keys)]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644])
def test_a_file_that_others_may_read_is_refused(mode: int, tmp_path: Path) -> None:
    with pytest.raises(SigningKeysUnusable, match="chmod 600"):
        read(written(tmp_path, ED, mode=mode))


def test_what_is_no_key_to_sign_with_is_refused_and_not_quoted(tmp_path: Path) -> None:
    secret = OctKey.generate_key(256)
    short, curve = RSAKey.generate_key(1024), OKPKey.generate_key("X25519")
    public = OKPKey.import_key(ED.as_dict(private=False))
    for keys in ([secret], [short], [curve], [public], [ED, OKPKey.generate_key("Ed25519", {"kid": "a"})], []):
        with pytest.raises(SigningKeysUnusable) as refused:
            read(written(tmp_path, *keys))
        assert str(secret.as_dict(private=True)["k"]) not in refused.value.message

    file = written(tmp_path, OKPKey.import_key(ED.as_dict(private=True) | {"alg": "RS256"}))
    with pytest.raises(SigningKeysUnusable, match="for another use"):
        read(file)
    for text in ("CANARY", "[]", '{"keys": "CANARY"}', '{"keys": ["CANARY"]}', '{"keys": [{"kty": "CANARY"}]}'):
        file.write_text(text)
        with pytest.raises(SigningKeysUnusable) as refused:
            read(file)
        assert "CANARY" not in refused.value.message
    with pytest.raises(SigningKeysUnusable, match="cannot be read"):
        read(tmp_path / "absent")


def test_without_keys_it_is_said_what_to_set() -> None:
    with pytest.raises(IssuingNotConfigured, match="MONITOR_SIGNING_KEYS_FILE"):
        NoIssuer().issue(CLAIMS)
