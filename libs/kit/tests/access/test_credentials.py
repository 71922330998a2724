"""Exactly one bearer token, whatever else is sent."""

import pytest

from tidemill_kit.access.credentials import Credentials
from tidemill_kit.access.errors import CredentialInvalid, CredentialMissing

TOKEN = "a.b.c"  # noqa: S105 - of no use


def sent(**values: list[str]) -> Credentials:
    return Credentials.sent(lambda name: values.get(name.replace("-", "_"), []))


def test_a_bearer_token_is_taken_with_what_stands_beside_it() -> None:
    credentials = sent(authorization=["Bearer a.b.c"], tidemill_project=["acme"], tidemill_on_behalf_of=["user:ada"])
    assert credentials == Credentials(token=TOKEN, project="acme", on_behalf_of="user:ada")
    assert "a.b.c" not in repr(credentials)


def test_none_is_another_error_than_a_bad_one() -> None:
    with pytest.raises(CredentialMissing):
        sent(tidemill_project=["acme"])


@pytest.mark.parametrize(
    "values",
    [
        {"authorization": [""]},
        {"authorization": ["Bearer "]},
        {"authorization": ["a.b.c"]},
        {"authorization": ["Basic a.b.c"]},
        {"authorization": ["Bearer a.b.c", "Bearer a.b.c"]},
        {"authorization": ["Bearer a.b.c, Bearer d.e.f"]},
        {"authorization": ["Bearer a.b.c\n"]},
        {"authorization": ["Bearer  a.b.c"]},
        {"authorization": ["Bearer ä.b.c"]},
        {"authorization": ["Bearer " + "a" * 1_000_000]},
        {"authorization": ["Bearer a.b.c"], "tidemill_project": ["acme", "acme"]},
        {"authorization": ["Bearer a.b.c"], "tidemill_on_behalf_of": ["user:a", "user:b"]},
    ],
    ids=range(12),
)
def test_anything_else_is_refused(values: dict[str, list[str]]) -> None:
    with pytest.raises(CredentialInvalid):
        sent(**values)
