"""Clusters of vectors, and what is typical of texts."""

import numpy as np
import pytest

from tidemill_rag.topics.clustering import MIN_MEMBERS, Floats, clusters_of
from tidemill_rag.topics.domain import Clusters, spread_evenly
from tidemill_rag.topics.shift import shift_of
from tidemill_rag.topics.terms import typical_terms, words_of


def around(*sizes: int, dimensions: int = 24, noise: float = 0.05) -> Floats:
    """Return vectors of length 1: so many around each of some axes, mixed."""
    random = np.random.default_rng(7)
    axes = [np.eye(dimensions)[axis] for axis, size in enumerate(sizes) for _ in range(size)]
    vectors = np.array(axes) + random.normal(scale=noise, size=(len(axes), dimensions))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    mixed: Floats = unit[random.permutation(len(unit))].astype(np.float32)
    return mixed


def clustered(vectors: Floats, *, count: int = 0) -> Clusters:
    return clusters_of(vectors.tobytes(), [""] * len(vectors), count)


@pytest.mark.parametrize("sizes", [(40, 25, 15), (30, 30), (60, 50, 40, 30, 20, 10)])
def test_as_many_clusters_are_found_as_there_are_the_largest_first(sizes: tuple[int, ...]) -> None:
    found = clustered(around(*sizes))

    assert [found.members.count(each) for each in range(found.count)] == list(sizes)
    assert found.separation > 0.7
    assert max(found.distances) < 0.3


def test_the_same_vectors_make_the_same_clusters() -> None:
    vectors = around(40, 25, 15)
    assert clustered(vectors) == clustered(vectors)


def test_a_count_is_what_was_asked_for() -> None:
    assert [clustered(around(40, 25, 15), count=count).count for count in (2, 4, 5)] == [2, 4, 5]


def test_what_is_alone_is_no_topic_and_is_far_from_all() -> None:
    vectors = np.concatenate([around(40, 40), np.eye(24, dtype=np.float32)[20:21]])

    found = clustered(vectors)

    assert found.count == 2
    assert found.distances[-1] == max(found.distances) > 0.9
    assert min(found.members.count(each) for each in range(found.count)) >= MIN_MEMBERS


def test_documents_that_are_all_alike_are_one_topic_or_overlap() -> None:
    found = clustered(np.tile(np.eye(8, dtype=np.float32)[:1], (30, 1)))

    assert sum(found.members.count(each) for each in range(found.count)) == 30
    assert found.separation <= 0


def test_documents_beyond_those_that_centres_are_made_of_go_to_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidemill_rag.topics.clustering._FITTED", 60)

    found = clustered(around(100, 80, 60))

    assert [found.members.count(each) for each in range(found.count)] == [100, 80, 60]


def test_typical_terms_are_what_one_topic_has_and_others_have_not() -> None:
    texts = ["the vpn tunnel of the office"] * 6 + ["the lunch menu of the office"] * 6
    first, second = typical_terms(texts, [0] * 6 + [1] * 6, clusters=2)

    assert {each.term for each in first} == {"vpn", "tunnel"}
    assert {each.term for each in second} == {"lunch", "menu"}
    assert first[0].documents == 6


def test_a_word_of_few_documents_is_not_said() -> None:
    texts = ["vpn", "vpn", "vpn", "vpn Lovelace", "vpn Lovelace", "menu", "menu", "menu"]
    first, _ = typical_terms(texts, [0] * 5 + [1] * 3, clusters=2)

    assert [each.term for each in first] == ["vpn"]


def test_neither_placeholders_nor_pseudonyms_are_words() -> None:
    assert words_of("Write to [EMAIL:k3f9wq7hd2mzxp] or [PERSON], at 17 or V2-x") == {"write", "v2-x"}


def test_shares_that_differ_between_two_periods_are_found() -> None:
    grown, same = ((40, 10), (10, 40)), ((40, 41), (10, 9))

    shifted, alike = shift_of(grown, significance=0.05), shift_of(same, significance=0.05)

    assert shifted is not None
    assert alike is not None
    assert (shifted.shifted, alike.shifted) == (True, False)
    assert shifted.effect == pytest.approx(0.6)
    assert shift_of(((40, 0), (10, 0)), significance=0.05) is None


def test_numbers_are_spread_from_the_first_to_the_last() -> None:
    assert [list(spread_evenly(count, limit=4)) for count in (2, 4, 10)] == [[0, 1], [0, 1, 2, 3], [0, 3, 6, 9]]
