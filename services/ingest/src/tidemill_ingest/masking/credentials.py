"""Finds keys, tokens and passwords.

The forms of providers' tokens are those of detect-secrets (Apache-2.0); its plugins that guess by keyword or entropy
alone are left out, because they take code for secrets. What they would find is found here where a name that promises a
secret is given a value that looks like one.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator

from detect_secrets.plugins.artifactory import ArtifactoryDetector
from detect_secrets.plugins.aws import AWSKeyDetector
from detect_secrets.plugins.azure_storage_key import AzureStorageKeyDetector
from detect_secrets.plugins.discord import DiscordBotTokenDetector
from detect_secrets.plugins.github_token import GitHubTokenDetector
from detect_secrets.plugins.gitlab_token import GitLabTokenDetector
from detect_secrets.plugins.jwt import JwtTokenDetector
from detect_secrets.plugins.mailchimp import MailchimpDetector
from detect_secrets.plugins.pypi_token import PypiTokenDetector
from detect_secrets.plugins.sendgrid import SendGridDetector
from detect_secrets.plugins.slack import SlackDetector
from detect_secrets.plugins.square_oauth import SquareOAuthDetector
from detect_secrets.plugins.stripe import StripeDetector
from detect_secrets.plugins.telegram_token import TelegramBotTokenDetector
from detect_secrets.plugins.twilio import TwilioKeyDetector

from tidemill_ingest.masking.spans import Finder, Span, matches_at, window

_DETECTORS = (
    ArtifactoryDetector,
    AWSKeyDetector,
    AzureStorageKeyDetector,
    DiscordBotTokenDetector,
    GitHubTokenDetector,
    GitLabTokenDetector,
    MailchimpDetector,
    PypiTokenDetector,
    SendGridDetector,
    SlackDetector,
    SquareOAuthDetector,
    StripeDetector,
    TelegramBotTokenDetector,
    TwilioKeyDetector,
)
_NEWER_FORMS = (
    r"github_pat_[A-Za-z0-9_]{22,}",
    r"AIza[0-9A-Za-z_-]{35}",
    r"hf_[A-Za-z0-9]{30,}",
    r"(?:r|s)k_test_[0-9a-zA-Z]{24}",
    r"xapp-[0-9A-Za-z-]{20,}",
    r"npm_[A-Za-z0-9]{36}",
    r"dckr_(?:pat|oat)_[A-Za-z0-9_-]{20,}",
    r"dop_v1_[a-f0-9]{64}",
    r"sk-or-v1-[0-9a-f]{64}",
    r"(?<=_authToken=)(?:npm_[A-Za-z0-9]{1,200}|[A-Fa-f0-9-]{36})",
)
"""Forms that appeared after detect-secrets 1.5.0, and one of its own that takes the square of a line's length."""
# OpenAI's and Anthropic's: a run begins once, at a boundary, and what it is made of is counted apart.
_SK = re.compile(r"(?<![A-Za-z0-9_-])sk-[A-Za-z0-9_-]{20,}")
_MADE_OF = (re.compile(r"[0-9]"), re.compile(r"[A-Z]"), re.compile(r"[a-z]"))
# RFC 7519's compact form, with the signature; RFC 7515 leaves padding out.
_JWT = re.compile(
    r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{2,8192}\.[A-Za-z0-9_-]{2,16384}(?:\.[A-Za-z0-9_-]{0,8192})?={0,2}"
)

_FORMS = tuple(
    [form for detector in _DETECTORS for form in detector.denylist] + [re.compile(form) for form in _NEWER_FORMS]
)
# A token's parts are longer than most words and never have spaces in them: only such runs are checked closely.
_RUN = re.compile(r"[A-Za-z0-9_\-./+=:\\]{20,}")
_PRIVATE_KEY = re.compile(r"-----BEGIN ([A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?)-----|PuTTY-User-Key-File-\d: ")
_KEY_BODY = re.compile(r"[A-Za-z0-9+/=:,.\-\s\\]*")
_LONGEST_KEY = 16_384
_HEADER = re.compile(r"(?i)authorization[\"'`]?\s*[:=]\s*[\"'`]?(?:bearer|basic|token)\s+([\w\-.~+/=]{8,})")
_BEARER = re.compile(r"(?i)bearer\s+([\w\-.~+/=]{20,})")
_PASSWORD_NAMES = ("passw", "passphrase", "passcode", "pw", "kennwort", "contrase", "mot de passe", "senha")
_NAMES = (*_PASSWORD_NAMES, "secret", "token", "key", "credential")
_ASSIGNED = re.compile(
    r"(?i)(?:password|passwort|passwd|passphrase|passcode|pwd?|kennwort|contrase(?:ñ|n)a|mot de passe|senha|secret"
    r"|token|key|credentials?)(?:key|id|value|token)?(?:[_-](?:key|base|id|value|token|hash|\d{1,4})){0,2}[\"'`]?"
    r"\s{0,3}(?:[:=]|=>|\b(?:is|ist|lautet|est|es)\b:?)\s{0,3}([\"'`]?)([^\s\"'`<>{}()\[\],;]{6,200})"
)
_KEY_OF_WHAT = re.compile(r"(?i)(?:api|access|auth|private|secret|client|account|encryption|signing)[_ -]?$")
_URL_PASSWORD = re.compile(r"://[^\s/:@\"'<>]{0,100}:([^\s/@\"'<>]{1,200})@")
_DIGIT = re.compile(r"\d")
_MIN_TOKEN = 16
_MIN_PASSWORD = 8
_MIN_BITS = 3.0


def find_private_keys(text: str) -> Iterator[Span]:
    """Yield whole blocks, up to the END line; without one, as far as it still looks like a key."""
    done = 0
    for match in _PRIVATE_KEY.finditer(text):
        if match.start() < done:
            continue
        ending = f"-----END {match[1]}-----" if match[1] else "Private-MAC: "
        end = text.find(ending, match.end(), match.end() + _LONGEST_KEY)
        if end >= 0:
            stop = end + len(ending)
            done = stop if match[1] else _end_of_word(text, stop)
            yield match.start(), done
        elif body := _KEY_BODY.match(text, match.end(), match.end() + _LONGEST_KEY):
            done = body.end()
            yield match.start(), done


def find_tokens(text: str) -> Iterator[Span]:
    """Yield tokens in a provider's form, and JSON Web Tokens."""
    for run in _RUN.finditer(text):
        word, offset = run[0], run.start()
        for form in _FORMS:
            for match in form.finditer(word):
                yield offset + match.start(), offset + match.end()
        for match in _SK.finditer(word):
            if all(kind.search(word, match.start() + 3, match.end()) for kind in _MADE_OF):
                yield offset + match.start(), offset + match.end()
        for match in _JWT.finditer(word):
            if JwtTokenDetector.is_formally_valid(match[0].rstrip(".,:=")):
                yield offset + match.start(), offset + match.end()


def find_headers(text: str) -> Iterator[Span]:
    """Yield what follows Authorization: and Bearer."""
    for word, form in (("authorization", _HEADER), ("bearer", _BEARER)):
        for match in matches_at(text, word, form):
            if form is _HEADER or _has_digit(match[1]):
                yield match.span(1)


def find_url_passwords(text: str) -> Iterator[Span]:
    """Yield the password of scheme://user:password@host."""
    for match in _URL_PASSWORD.finditer(text):
        yield match.span(1)


def find_assigned(text: str) -> Iterator[Span]:
    """Yield values that look like secrets behind names that promise one."""
    for name in _NAMES:
        done = 0
        for match in matches_at(text, name, _ASSIGNED):
            if match.start() < done or (name == "pw" and window(text, match.start(), before=1).isalnum()):
                continue
            if name == "key" and not _KEY_OF_WHAT.search(window(text, match.start(), before=12)):
                continue
            value, quoted = match[2].rstrip(".:"), bool(match[1])
            password = name in _PASSWORD_NAMES
            minimum = _MIN_PASSWORD if quoted or password else _MIN_TOKEN
            if len(value) >= minimum and _seems_secret(value, trusted=quoted or (password and value.isalnum())):
                done = match.start(2) + len(value)
                yield match.start(2), done


def _seems_secret(value: str, *, trusted: bool) -> bool:
    """Distinguish letters and digits of some entropy from paths, numbers, and unless `trusted` names of code."""
    if not _has_digit(value) or not any(character.isalpha() for character in value):
        return False
    if value.startswith(("http://", "https://", "/", "$", "%", "0x")) or ".." in value:
        return False
    dotted_name = all(part.isidentifier() for part in value.split("."))
    if dotted_name and not trusted and not (value.isalnum() and _mixed(value)):
        return False
    return _bits_per_character(value) >= (_MIN_BITS if len(value) >= _MIN_TOKEN else 2.0)


def _mixed(value: str) -> bool:
    """Distinguish `Sommer2024x` from `token2`: at least three digits, or digits between letters in both cases."""
    digits = sum(character.isdigit() for character in value)
    return digits >= 3 or (value != value.lower() and value != value.upper() and value[-1].isalpha())  # noqa: PLR2004


def _bits_per_character(value: str) -> float:
    """Return Shannon's entropy of the characters."""
    total = len(value)
    return -sum(count / total * math.log2(count / total) for count in Counter(value).values())


def _has_digit(value: str) -> bool:
    return _DIGIT.search(value) is not None


def _end_of_word(text: str, start: int) -> int:
    stop = start
    while stop < len(text) and (text[stop].isalnum() or text[stop] in "-_=+/."):
        stop += 1
    return stop


FINDERS: tuple[Finder, ...] = (find_private_keys, find_url_passwords, find_tokens, find_headers, find_assigned)
