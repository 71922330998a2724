import pydoc_data.topics
import re
from pathlib import Path

import pytest

from services.ingest.tests.masking.cases import MASK_KINDS, measured
from tidemill_ingest.documents.domain.submission import Fact
from tidemill_ingest.masking.kinds import Masking, MaskKind
from tidemill_ingest.masking.stage import MaskingStage

README = Path(__file__).parents[2] / "README.md"

# Every secret here is made up, and put together from parts so that no scanner takes this file for a leak.
AWS = "AKIA" + "IOSFODNN7EXAMPLE"
GITHUB = "ghp_" + "a1B2" * 9
STRIPE = "sk_live_" + "4eC39HqLyjWDarjtT1zdp7dc"
SLACK = "xoxb-" + "123456789012-" + "abcdefABCDEF1234"
OPENAI = "sk-proj-" + "a1B2c3D4e5F6g7H8i9J0k1L2"
GOOGLE = "AIza" + "SyA1234567890abcdefghijklmnopqrstuv"
JWT = "eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxMjM0NTY3ODkwIn0." + "dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P"
KEY = "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA7bq\nxyz+/==\n-----END RSA PRIVATE KEY-----"

MASKED = [
    ("mail ada.lovelace+x@mail.acme.example, please", "mail [EMAIL], please"),
    ("<ada@acme.example>; 'bob@acme.example'.", "<[EMAIL]>; '[EMAIL]'."),
    ("mailto:ada@acme.example?subject=hi", "mailto:[EMAIL]?subject=hi"),
    ("/unsubscribe?who=ada%40acme.example", "/unsubscribe?who=[EMAIL]"),
    ("jürgen@bücher.example", "[EMAIL]"),
    ("to: a@b.co\nb@c.org", "to: [EMAIL]\n[EMAIL]"),
    ("call +1 212-555-0123 now", "call [PHONE] now"),
    ("+49 30 901820", "[PHONE]"),
    ("(+44 20 7946 0958)", "([PHONE])"),
    ("0044 20 7946 0958", "[PHONE]"),
    ("(212) 736-5000 or 212-736-5000", "[PHONE] or [PHONE]"),
    ("Tel.: 030 901820", "Tel.: [PHONE]"),
    ("Telefon 030/901820", "Telefon [PHONE]"),
    ("phone 2127365000", "phone [PHONE]"),
    ("020 7946 0958", "[PHONE]"),
    ("[call](tel:+12125550123) tel:2127365000", "[call](tel:[PHONE]) tel:[PHONE]"),
    ("card 4111 1111 1111 1111.", "card [CARD]."),
    ("5500-0000-0000-0004", "[CARD]"),
    ("378282246310005", "[CARD]"),
    ("4111-1111-1111-1111 12/27 123", "[CARD] 12/27 123"),
    ("IBAN DE89 3704 0044 0532 0130 00, BIC X", "IBAN [IBAN], BIC X"),
    ("GB82WEST12345698765432", "[IBAN]"),
    ("pay to DE89370400440532013000 and more words", "pay to [IBAN] and more words"),
    ("http://127.0.0.1:8080/x", "http://[IP]:8080/x"),
    ("10.0.0.0/8 via 192.168.1.254.", "[IP]/8 via [IP]."),
    ("10.0.0.1-10.0.0.9, 10.0.0.1,10.0.0.2", "[IP]-[IP], [IP],[IP]"),
    ("fe80::1ff:fe23:4567:890a%eth0", "[IP]%eth0"),
    ("listen on [2001:db8::1]:443 and [::1]:80", "listen on [[IP]]:443 and [[IP]]:80"),
    ("::ffff:192.0.2.128", "::ffff:[IP]"),
    (f"id {AWS};", "id [CREDENTIAL];"),
    (f"token {GITHUB}", "token [CREDENTIAL]"),
    (f"'{STRIPE}'", "'[CREDENTIAL]'"),
    (f"{SLACK} {OPENAI} {GOOGLE}", "[CREDENTIAL] [CREDENTIAL] [CREDENTIAL]"),
    (f"jwt={JWT} end", "jwt=[CREDENTIAL] end"),
    (f"before\n{KEY}\nafter", "before\n[CREDENTIAL]\nafter"),
    ("postgres://app:s3cr3t!pw@db/x", "postgres://app:[CREDENTIAL]@db/x"),
    ("Authorization: Bearer abcdef0123456789", "Authorization: Bearer [CREDENTIAL]"),
    ("authorization: Basic dXNlcjpwYXNz", "authorization: Basic [CREDENTIAL]"),
    ('password = "Sommer2024!x"', 'password = "[CREDENTIAL]"'),
    ("Password: hunter2hunter2", "Password: [CREDENTIAL]"),
    ('"api_key": "9f8e7d6c5b4a39281706"', '"api_key": "[CREDENTIAL]"'),
    ("AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLE1KEY", "AWS_SECRET_ACCESS_KEY=[CREDENTIAL]"),
]

UNTOUCHED = [
    "version 1.2.3.4, v10.0.19041.1 and pip install foo==2.31.0.1",
    "Python 3.11.9, section 3.1.2, 1.3.6.1.4.1.343 is an OID",
    "a[::2], a[1::2], b[10::100] and std::vector<int>::iterator",
    "at 12:30:45 on 2024-01-15, 2024-01-15T10:30:00Z, 15/01/2024",
    "00:1A:2B:3C:4D:5E is a MAC address",
    "@app.route('/x')\n@typing.runtime_checkable\ndef f(self) -> None:",
    "decorated with\n@typing.runtime_checkable",
    "git@github.com:python/cpython.git",
    "A @ B.T and M@N.x",
    "2147483647, 9223372036854775807, 18446744073709551615, 4294967296",
    "0.1000000000000000055511151231257827 and 3.141592653589793",
    "ISBN 978-0-13-468599-1, DOI 10.1002/0470841559",
    "1234 5678 9012 3456 is no card: its check digit is wrong, as is 4111 1111 1111 1112",
    "DE00 3704 0044 0532 0130 00 has wrong check digits",
    "password=None, token = tokenize.generate_tokens(x), key=lambda item: item[1]",
    "secret = secrets.token_urlsafe(16); api_key = os.environ['API_KEY_2']",
    "passwd: pwd.getpwnam('root'); getpass.getpass(prompt='Password: ', stream=None)",
    "The token is INDENT2; the key is described in RFC2104",
    "sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "uuid 123e4567-e89b-12d3-a456-426614174000",
    "https://docs.python.org/3/library/hashlib.html#hashlib.pbkdf2_hmac",
    "range(100, 200, 10) 1 2 3 4 5 6 7 8 9 10 11 12",
    "+3.140000; -3.140000 1e+10 x +1234567",
    "[EMAIL] and [PHONE] stay what they are",
    "sk-estimator-doc-link-fitted-2 is a class; foo-1.2.3.4.tar.gz, foo_1.2.3.4, lib-v1.2.3.4 are files",
    "eyJust a word.and another.one",
]


@pytest.mark.parametrize(("text", "expected"), MASKED, ids=[text[:30] for text, _ in MASKED])
def test_identifiers_become_placeholders_and_what_is_around_them_stays(text: str, expected: str) -> None:
    assert MaskingStage(Masking()).mask(text) == expected


@pytest.mark.parametrize("text", UNTOUCHED, ids=[text[:30] for text in UNTOUCHED])
def test_technical_text_stays_what_it_is(text: str) -> None:
    assert MaskingStage(Masking()).mask(text) == text


def test_only_the_kinds_that_a_source_names_are_masked_and_each_is_counted() -> None:
    stage = MaskingStage(Masking(kinds=frozenset({MaskKind.EMAIL})))

    text = stage.mask("ada@acme.example and bob@acme.example at 127.0.0.1")

    assert text == "[EMAIL] and [EMAIL] at 127.0.0.1"
    assert stage.masked == {"email": 2}


def test_masking_nothing_changes_nothing() -> None:
    assert MaskingStage(Masking.of([], none=True)).mask(f"ada@acme.example {AWS}") == f"ada@acme.example {AWS}"


def test_masking_a_masked_text_again_changes_nothing() -> None:
    once = MaskingStage(Masking()).mask("\n".join(text for text, _ in MASKED))

    assert MaskingStage(Masking()).mask(once) == once


def test_a_private_key_without_an_end_is_masked_as_far_as_it_looks_like_one() -> None:
    text = MaskingStage(Masking()).mask("-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBg\n\nécrit plus tard")

    assert text == "[CREDENTIAL]écrit plus tard"


@pytest.mark.heavy
def test_the_language_reference_of_python_keeps_every_word_but_addresses() -> None:
    stage = MaskingStage(Masking())

    for topic in pydoc_data.topics.topics.values():
        stage.mask(topic)

    assert set(stage.masked) <= {"email", "ip"}


@pytest.mark.heavy
def test_what_is_found_of_the_labelled_lines_is_what_the_readme_says() -> None:
    counts = measured()
    said = dict(re.findall(r"^\| `(\w+)` \| (\d+ \| \d\.\d\d \| \d\.\d\d) \|$", README.read_text(), flags=re.MULTILINE))

    assert said == {
        kind: f"{counts.labelled[kind]} | {counts.recall(kind):.2f} | {counts.precision(kind):.2f}"
        for kind in MASK_KINDS
    }, counts.missed


@pytest.mark.parametrize(
    ("name", "fact", "masked"),
    [
        ("pan", 4111111111111111.0, "[CARD]"),
        ("phone", 4930901820.0, "[PHONE]"),
        ("mobile_number", "0171 2345678", "[PHONE]"),
        ("owner", "jane\u200d.roe@example.com", "[EMAIL]"),
        ("visits", 12500000.0, 12500000.0),
        ("revision", 4711.0, 4711.0),
        ("share", 0.25, 0.25),
        ("open", True, True),
    ],
)
def test_metadata_is_masked_by_its_digits_and_what_its_name_says(name: str, fact: Fact, masked: Fact) -> None:
    assert MaskingStage(Masking()).mask_fact(name, fact) == masked
