"""A token counts only as its issuer signed it, for us, now; what is wrong with another one is not said."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from joserfc.errors import SecurityWarning
from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey

from tidemill_kit.access.errors import CredentialExpired, CredentialInvalid
from tidemill_kit.access.tokens import Claims, Token, algorithm_of, public_set, signed
from tidemill_testkit.access import TestIssuer, raw

DEEP = "[" * 3000


@pytest.fixture
def issuer(tmp_path: Path) -> TestIssuer:
    return TestIssuer(tmp_path)


def read(text: str, key: Key, *, now: float | None = None, leeway_s: float = 30, first_party: bool = True) -> Claims:
    token = Token.read(text)
    return token.verified(key, audience="tidemill", leeway_s=leeway_s, now=now or time.time(), first_party=first_party)


@pytest.mark.parametrize(
    "key",
    [
        OKPKey.generate_key("Ed25519", auto_kid=True),
        ECKey.generate_key("P-256", auto_kid=True),
        RSAKey.generate_key(2048, auto_kid=True),
    ],
    ids=["EdDSA", "ES256", "RS256"],
)
def test_what_was_signed_is_read_again(issuer: TestIssuer, key: Key) -> None:
    claims = issuer.claims(
        "acme",
        "viewer",
        groups=frozenset({"legal"}),
        permissions=frozenset({"tidemill.rag.v1.RetrievalService/Search"}),
        scopes=frozenset(),
        issue_time=float(int(time.time())),
        expire_time=float(int(time.time()) + 60),
    )
    assert read(signed(claims, key), key) == claims


def confused(issuer: TestIssuer) -> str:
    """HMAC by what is published: the key."""
    head, _, rest = raw({"alg": "HS256", "typ": "at+jwt", "kid": issuer.key.kid}, issuer.claims().payload()).partition(
        "."
    )
    body = rest.partition(".")[0]
    mac = hmac.new(public_set([issuer.key]), f"{head}.{body}".encode(), hashlib.sha256).digest()
    return f"{head}.{body}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


def foreign(issuer: TestIssuer) -> str:
    return issuer.odd(key=OKPKey.generate_key("Ed25519"))


def changed(issuer: TestIssuer) -> str:
    head, body, signature = issuer.token("acme", "viewer").split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    claims["roles"] = ["admin"]
    return f"{head}.{base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b'=').decode()}.{signature}"


def with_symmetric_key(issuer: TestIssuer) -> str:
    return issuer.odd(header={"alg": "HS256"}, key=OctKey.generate_key(256))


def twice(issuer: TestIssuer) -> str:
    """A name that stands twice: readers differ in which one they take."""
    claims = json.dumps(issuer.claims("acme", "viewer").payload())
    return issuer.odd(text=claims.replace("{", '{"roles": ["admin"], ', 1).encode())


WRONG: dict[str, Callable[[TestIssuer], str]] = {
    "nothing": lambda _: "",
    "words": lambda _: "my secret",
    "a project's name": lambda _: "acme",
    "no signature": lambda each: each.token().rpartition(".")[0] + ".",
    "two parts": lambda each: each.token().rpartition(".")[0],
    "four parts": lambda each: each.token() + ".AAAA",
    "a blank": lambda each: each.token() + " ",
    "too long": lambda each: each.token("acme", groups=frozenset(f"group-{n:04}" for n in range(512))),
    "alg none": lambda each: raw({"alg": "none", "typ": "at+jwt", "kid": each.key.kid}, each.claims().payload(), b"x"),
    "HMAC by the public key": confused,
    "HMAC by a key of its own": with_symmetric_key,
    "another algorithm": lambda each: each.odd(header={"alg": "ES256"}, key=ECKey.generate_key("P-256")),
    "a foreign key": foreign,
    "changed claims": changed,
    "no kid": lambda each: each.odd(header={"kid": None}),
    "a kid that is a path": lambda each: each.odd(header={"kid": "../../etc/passwd\n"}),
    "a kid that is a list": lambda each: each.odd(header={"kid": ["a"]}),
    "a key of its own (jwk)": lambda each: each.odd(header={"jwk": each.key.as_dict(private=False)}),
    "a key from an address (jku)": lambda each: each.odd(header={"jku": "https://evil.example/jwks"}),
    "a certificate (x5c)": lambda each: each.odd(header={"x5c": ["AAAA"]}),
    "a certificate from an address (x5u)": lambda each: each.odd(header={"x5u": "https://evil.example/x"}),
    "critical headers": lambda each: each.odd(header={"crit": ["exp"], "exp": 1}),
    "an unencoded payload": lambda each: each.odd(header={"b64": False}),
    "no typ": lambda each: each.odd(header={"typ": None}),
    "another typ": lambda each: each.odd(header={"typ": "logout+jwt"}),
    "another audience": lambda each: each.odd(claims={"aud": "billing"}),
    "no audience": lambda each: each.odd(claims={"aud": None}),
    "an audience that is an object": lambda each: each.odd(claims={"aud": {"tidemill": 1}}),
    "no issuer": lambda each: each.odd(claims={"iss": None}),
    "from the future": lambda each: each.odd(claims={"nbf": time.time() + 3600}),
    "issued in the future": lambda each: each.odd(claims={"iat": time.time() + 3600}),
    "no time of issue": lambda each: each.odd(claims={"iat": None}),
    "no end": lambda each: each.odd(claims={"exp": None}),
    "an end that is a text": lambda each: each.odd(claims={"exp": "9999999999"}),
    "an end that is true": lambda each: each.odd(claims={"exp": True}),
    "an endless end": lambda each: each.odd(claims={"exp": 1e300}),
    "no jti": lambda each: each.odd(claims={"jti": None}),
    "a jti with a line break": lambda each: each.odd(claims={"jti": "a\nb"}),
    "no subject": lambda each: each.odd(claims={"sub": None}),
    "a subject of no kind": lambda each: each.odd(claims={"sub": "ada"}),
    "a subject with a line break": lambda each: each.odd(claims={"sub": "user:ada\r\nx: y"}),
    "a subject with an escape": lambda each: each.odd(claims={"sub": "user:\x1b[31mada"}),
    "a subject that is an object": lambda each: each.odd(claims={"sub": {"$ne": 1}}),
    "a service that is a path": lambda each: each.odd(claims={"sub": "service:../x"}),
    "no project": lambda each: each.odd(claims={"project": None}),
    "a project that is a path": lambda each: each.odd(claims={"project": "../other"}),
    "a project that is a list": lambda each: each.odd(claims={"project": ["acme"]}),
    "every project for a user": lambda each: each.odd(claims={"project": "*", "roles": ["admin"]}),
    "roles that are a text": lambda each: each.odd(claims={"roles": "admin"}),
    "roles that are objects": lambda each: each.odd(claims={"roles": [{"admin": 1}]}),
    "too many permissions": lambda each: each.odd(claims={"permissions": [f"a/{n}" for n in range(65)]}),
    "scopes that are null": lambda each: each.odd(claims={"scopes": 0}),
    "claims that are a list": lambda each: raw({"alg": "EdDSA", "typ": "at+jwt", "kid": each.key.kid}, ["a"], b"x"),
    "claims without end": lambda each: (
        each.token().split(".")[0] + "." + base64.urlsafe_b64encode(DEEP.encode()).rstrip(b"=").decode() + ".AA"
    ),
    "a name twice": twice,
}
"""Shared with the tests of the edges."""


@pytest.mark.parametrize("wrong", WRONG)
def test_anything_wrong_is_refused_in_the_same_words(issuer: TestIssuer, wrong: str) -> None:
    with pytest.raises(CredentialInvalid) as refused:
        read(WRONG[wrong](issuer), issuer.key)

    assert type(refused.value) is CredentialInvalid
    assert refused.value.metadata == {}
    assert refused.value.__cause__ is None  # nothing that a log could quote


@pytest.mark.parametrize(("seconds", "taken"), [(-29, True), (-31, False), (-300, False)])
def test_an_expired_token_says_so_beyond_the_leeway(issuer: TestIssuer, seconds: int, taken: bool) -> None:  # noqa: FBT001 - a column
    now = float(int(time.time()))
    text = issuer.token("acme", issue_time=now - 400, expire_time=now + seconds)
    if taken:
        assert read(text, issuer.key, now=now).project == "acme"
    else:
        with pytest.raises(CredentialExpired):
            read(text, issuer.key, now=now)


@pytest.mark.parametrize("apart_s", [-300, 300])
def test_a_clock_five_minutes_apart_counts_as_wrong_and_one_within_the_leeway_as_right(
    issuer: TestIssuer, apart_s: int
) -> None:
    now = time.time()
    short = issuer.token("acme", issue_time=now, expire_time=now + 60)

    with pytest.raises((CredentialExpired, CredentialInvalid)):
        read(short, issuer.key, now=now + apart_s)
    assert read(short, issuer.key, now=now + apart_s / 15).project == "acme"


def test_another_issuer_names_users_only(issuer: TestIssuer) -> None:
    plain = read(issuer.odd(claims={"sub": "248289"}), issuer.key, first_party=False)
    service = read(issuer.odd(claims={"sub": "service:inference"}), issuer.key, first_party=False)
    admin = read(issuer.odd(claims={"roles": ["installation_admin"]}), issuer.key, first_party=False)

    assert (plain.subject, service.subject, service.service) == ("user:248289", "user:service:inference", "")
    assert admin.roles == frozenset()
    with pytest.raises(CredentialInvalid):
        read(issuer.odd(claims={"project": "*", "roles": ["installation_admin"]}), issuer.key, first_party=False)


def test_weak_and_symmetric_keys_sign_nothing() -> None:
    with pytest.warns(SecurityWarning):
        small = RSAKey.generate_key(1024)
    weak: list[Key] = [small, OctKey.generate_key(256), ECKey.generate_key("P-384"), OKPKey.generate_key("Ed448")]
    assert not any(map(algorithm_of, weak))


@pytest.mark.parametrize("algorithm", ["RS384", "RS512", "PS256", "PS512"])
def test_a_key_signs_by_one_algorithm_only(issuer: TestIssuer, algorithm: str) -> None:
    key = RSAKey.generate_key(2048, auto_kid=True)
    assert read(issuer.odd(header={"alg": "RS256"}, key=key), key).project == "acme"
    with pytest.raises(CredentialInvalid):
        read(issuer.odd(header={"alg": algorithm}, key=key), key)


def test_what_is_published_has_nothing_private(issuer: TestIssuer) -> None:
    (published,) = json.loads(public_set([issuer.key]))["keys"]
    assert set(published) == {"kty", "crv", "x", "kid", "use"}


def test_a_token_does_not_show_itself(issuer: TestIssuer) -> None:
    text = issuer.token()
    assert text not in repr(Token.read(text))
