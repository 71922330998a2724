from datetime import UTC, datetime

import pytest

from tidemill_trainer.registry.domain.model import Model, split_reference

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def saved(model: Model) -> Model:
    model.version += 1
    return model


def test_the_same_content_has_the_same_number() -> None:
    model = Model(id="m", project="acme")

    model.begin("a")
    model.begin("b")
    model.begin("a")

    assert model.numbers == {"a": 1, "b": 2}
    assert list(model.live_numbers) == [1, 2]


def test_a_branch_that_moved_means_the_newer_version() -> None:
    model = Model(id="m", project="acme")

    model.begin("commit 1", alias="main")
    model.begin("commit 2", alias="main")
    model.begin("main")

    assert model.numbers == {"commit 1": 1, "commit 2": 2, "main": 2}


def test_content_that_failed_gets_a_new_number_once() -> None:
    model = Model(id="m", project="acme")
    model.begin("a")

    model.begin("a", instead_of=1)
    model.begin("a", instead_of=1)

    assert model.numbers == {"a": 2}


def test_numbers_of_a_deleted_model_are_never_given_out_again() -> None:
    model = saved(Model(id="m", project="acme"))
    model.begin("a")
    model.deleted = True

    model.begin("a")

    assert model.numbers == {"a": 2}
    assert list(model.live_numbers) == [2]
    assert not model.deleted


@pytest.mark.parametrize("reference", ["m@", "m@0", "m@01", "m@x", "m@1@2", "m@-1", "m@²"])
def test_a_reference_has_a_number_or_none(reference: str) -> None:
    with pytest.raises(ValueError, match="model@number"):
        split_reference(reference)


def test_a_reference_names_the_newest_or_a_number() -> None:
    assert split_reference("m") == ("m", 0)
    assert split_reference("m@12") == ("m", 12)
