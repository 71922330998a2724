"""Pseudonyms: one for a value however it is written, and not changed by what comes after."""

import pytest

from services.ingest.tests.masking.cases import lines
from services.ingest.tests.masking.test_masking import AWS, MASKED
from tidemill_ingest.masking import pseudonyms
from tidemill_ingest.masking.kinds import Masking, MaskKind
from tidemill_ingest.masking.pseudonyms import Pseudonyms
from tidemill_ingest.masking.stage import MaskingStage
from tidemill_ingest.masking.tokens import TOKEN, outside_tokens, token_of, without_pseudonyms

KEY, OTHER_KEY = bytes(32), bytes([1] * 32)
ALL = "\n".join([*(text for text, _ in MASKED), *(line.text for line in lines())])
SPELLINGS = {
    MaskKind.EMAIL: (
        "ada@acme.example", "Ada@ACME.example", "ada (at) acme.example", "ada @ acme.example", "ada\u200d@acme.example",
        "a**da**@acme.example", "ada%40acme.example", "ada&#64;acme.example", "ada (at) acme (dot) example",
    ),
    MaskKind.PHONE: (
        "+49 30 901820", "0049 30 901820", "+49 (0)30 901820", "Tel. 030 901820", "Telefon 030/901820",
        "tel: +49-30-90-18-20",
    ),
    MaskKind.IBAN: ("DE89370400440532013000", "DE89 3704 0044 0532 0130 00", "de89 3704 0044 0532 0130 00"),
    MaskKind.CARD: ("4111111111111111", "4111 1111 1111 1111", "4111-1111-1111-1111"),
    MaskKind.IP: ("2001:db8::1", "2001:0db8:0:0:0:0:0:1", "2001:DB8::1"),
    MaskKind.NATIONAL_ID: ("SSN: 123-45-6789", "SSN: 123 45 6789"),
}  # fmt: skip


def stage(key: bytes = KEY, masking: Masking | None = None) -> MaskingStage:
    return MaskingStage(masking or Masking(), pseudonyms=Pseudonyms(key))


@pytest.mark.parametrize("kind", SPELLINGS)
def test_a_value_has_one_pseudonym_however_it_is_written(kind: MaskKind) -> None:
    tokens = {token for text in SPELLINGS[kind] for token in TOKEN.findall(stage().mask(f"It is {text} now"))}

    assert len(tokens) == 1, tokens
    assert tokens.pop().startswith(f"[{kind.name}:")


def test_spaces_and_case_of_a_name_are_no_other_name() -> None:
    given = Pseudonyms(KEY)

    assert given.of(MaskKind.PERSON, "Ada  Lovelace") == given.of(MaskKind.PERSON, "ADA\nLOVELACE")
    assert given.of(MaskKind.PERSON, "Ada") != given.of(MaskKind.PLACE, "Ada").replace("PLACE", "PERSON")
    assert given.of(MaskKind.EMAIL, "ada@bücher.example") == given.of(MaskKind.EMAIL, "ada@xn--bcher-kva.example")


def test_pseudonyms_stand_where_placeholders_would_on_everything_that_is_labelled() -> None:
    given = stage()

    done = given.mask(ALL)

    assert without_pseudonyms(done) == MaskingStage(Masking()).mask(ALL)
    assert set(TOKEN.findall(done)) == set(given.pseudonyms.values if given.pseudonyms else ())
    assert len(set(TOKEN.findall(done))) > 100


def test_what_masks_the_text_next_leaves_pseudonyms_as_they_are() -> None:
    done = stage().mask(ALL)

    assert MaskingStage(Masking()).mask(done) == done
    assert stage(OTHER_KEY).mask(done) == done


def test_values_keys_and_kinds_have_pseudonyms_of_their_own() -> None:
    values = [f"user{number}@acme.example" for number in range(1000)]
    tokens = {token_of(key, MaskKind.EMAIL, value) for value in values for key in (KEY, OTHER_KEY)}

    assert len(tokens) == 2000
    assert all(TOKEN.fullmatch(token) for token in tokens)
    assert token_of(KEY, MaskKind.EMAIL, "x")[6:] != token_of(KEY, MaskKind.PERSON, "x")[7:]


def test_the_value_is_as_it_was_written_first_and_places_of_the_text_are_moved() -> None:
    given = stage()

    text, places = given.mask_with_places("Ask Ada@acme.example or ada@acme.example, page two", [0, 42])

    assert given.pseudonyms is not None
    [(token, value)] = given.pseudonyms.values.items()
    assert (text, value) == (f"Ask {token} or {token}, page two", "Ada@acme.example")
    assert text[places[1] :] == "page two"
    assert given.masked == {"email": 2}
    assert "Ada@" not in repr(given)


def test_credentials_are_masked_and_never_kept() -> None:
    given = stage()

    assert given.mask(f"key {AWS}") == "key [CREDENTIAL]"
    assert given.pseudonyms is not None
    assert not given.pseudonyms.values


def test_of_two_values_with_one_pseudonym_the_second_is_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pseudonyms, "token_of", lambda *_: "[EMAIL:k3f9wq7hd2mzxp]")

    assert stage().mask("ada@acme.example, bob@acme.example") == "[EMAIL:k3f9wq7hd2mzxp], [EMAIL]"


def test_what_only_looks_like_a_pseudonym_hides_nothing() -> None:
    text = "[PHONE:+49 30 901820] [EMAIL:ada@acme.example]"

    assert MaskingStage(Masking()).mask(text) == "[PHONE:[PHONE]] [EMAIL:[EMAIL]]"
    assert not TOKEN.search("[CARD:36227206271667]")


def test_a_model_of_names_changes_nothing_in_a_pseudonym() -> None:
    text = "Ada [EMAIL:kqfwbqhhdqmzxp] Ada"
    found = [((0, 3), "first"), ((5, 10), "kind"), ((11, 25), "inside"), ((20, 30), "into"), ((27, 30), "last")]

    assert [what for _, what in outside_tokens(text, found)] == ["first", "last"]


def test_metadata_gets_pseudonyms_by_its_digits_and_what_its_name_says() -> None:
    given = stage()

    assert given.mask_fact("phone", 4930901820.0) == given.mask("+49 30 901820")
    assert given.mask_fact("visits", 12500000.0) == 12500000.0
