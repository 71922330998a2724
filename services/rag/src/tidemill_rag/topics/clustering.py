"""Clusters of documents by their embeddings: k-means on the sphere, in a process of its own."""

import warnings
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from tidemill_rag.topics.domain import DOCUMENTS_PER_TOPIC, MAX_COUNT, Clusters, spread_evenly
from tidemill_rag.topics.terms import typical_terms

Floats = NDArray[np.float32]

COUNTS = (2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, MAX_COUNT)
"""Numbers of clusters that are tried."""
MIN_MEMBERS = 5
"""What has fewer is no cluster: its documents go to the nearest other one, and are far from its centre."""
_FITTED = 2000
"""Documents that centres are computed of; others go to the nearest centre."""
_COMPONENTS = 32
_ROUNDS = 15
_SEEDS = range(1, 9)


def clusters_of(vectors: bytes, texts: Sequence[str], count: int) -> Clusters:
    """Return the clusters of documents in an order that says nothing of them, such as by digests; blocks.

    They are found by k-means on the first principal components, with k-means++ from fixed seeds. Without a `count` it
    is the one of `COUNTS` whose clusters have the highest mean simplified silhouette (Hruschka, de Castro, Campello,
    2004); with one, what has the most clusters comes before that. Each document is of the centre that is nearest by its
    cosine.
    """
    points = np.frombuffer(vectors, dtype=np.float32).reshape(len(texts), -1)
    fitted = points[list(spread_evenly(len(points), limit=_FITTED))]
    reduced = _components(fitted)
    best, best_rank = reduced.mean(axis=0, keepdims=True), (0, -1.0)
    for centres in _tried(reduced, count):
        # Seeds that lost clusters which are too small have a higher silhouette.
        rank = len(centres) if count else 0, _separation(reduced, centres)
        if rank > best_rank:
            best, best_rank = centres, rank
    nearest = _distances(reduced, best).argmin(axis=1)
    centres = _unit(np.array([fitted[nearest == each].mean(axis=0) for each in np.unique(nearest)]))
    members, centres = _by_size((points @ centres.T).argmax(axis=1), centres)
    distances = np.clip(1.0 - np.einsum("ij,ij->i", points, centres[members]), 0.0, 2.0)
    return Clusters(
        members=tuple(map(int, members)),
        distances=tuple(map(float, distances)),
        terms=tuple(typical_terms(texts, list(map(int, members)), clusters=len(centres))),
        separation=best_rank[1] if len(centres) > 1 else 0.0,
    )


def _components(points: Floats) -> Floats:
    """Return the points by their first principal components: those after them are mostly noise."""
    centred = points - points.mean(axis=0)
    _, directions = np.linalg.eigh(centred.T @ centred)
    return np.ascontiguousarray(centred @ directions[:, ::-1][:, :_COMPONENTS], dtype=np.float32)


def _tried(points: Floats, count: int) -> Iterator[Floats]:
    from scipy.cluster.vq import kmeans2  # noqa: PLC0415 - of the process only

    most = max(2, len(points) // DOCUMENTS_PER_TOPIC)
    for clusters in (count,) if count else COUNTS:
        if clusters > most:
            return
        for seed in _SEEDS:
            with warnings.catch_warnings():
                # A cluster without documents keeps its centre, and goes below; so do those of documents that are equal.
                warnings.simplefilter("ignore")
                centres, _ = kmeans2(points, clusters, iter=_ROUNDS, minit="++", rng=np.random.default_rng(seed))
            yield _without_small(points, centres)


def _without_small(points: Floats, centres: Floats) -> Floats:
    """Return the centres that have enough documents, one at least."""
    while len(centres) > 1:
        sizes = np.bincount(_distances(points, centres).argmin(axis=1), minlength=len(centres))
        if sizes.min() >= MIN_MEMBERS:
            break
        centres = np.delete(centres, sizes.argmin(), axis=0)
    return centres


def _separation(points: Floats, centres: Floats) -> float:
    """Return the mean simplified silhouette: distances to the own centre against those to the next one."""
    if len(centres) < 2:  # noqa: PLR2004 - one has no other to be apart from
        return -1.0
    nearest = np.sort(_distances(points, centres), axis=1)
    own, other = nearest[:, 0], np.maximum(nearest[:, 1], 1e-9)
    return float(np.mean((other - own) / other))


def _distances(points: Floats, centres: Floats) -> Floats:
    squares = (points**2).sum(axis=1, keepdims=True) - 2 * points @ centres.T + (centres**2).sum(axis=1)
    distances: Floats = np.sqrt(np.maximum(squares, 0.0))
    return distances


def _by_size(members: NDArray[np.intp], centres: Floats) -> tuple[NDArray[np.intp], Floats]:
    """Return clusters with the largest first, without those that nothing is of."""
    sizes = np.bincount(members, minlength=len(centres))
    order = [each for each in np.argsort(-sizes, kind="stable") if sizes[each]]
    places = np.zeros(len(centres), dtype=np.intp)
    places[order] = range(len(order))
    return places[members], centres[order]


def _unit(vectors: NDArray[np.floating]) -> Floats:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(lengths > 0, lengths, 1.0)).astype(np.float32)
