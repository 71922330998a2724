"""Configurations as documents."""

import json
from dataclasses import asdict

from tidemill_inference.deployments.domain.configuration import Configuration, Retrieval, Sampling
from tidemill_kit.store.mongo import Document


def configuration_document(configuration: Configuration) -> Document:
    """Return a configuration as it is stored."""
    return asdict(configuration) | {"retrieval": retrieval_document(configuration.retrieval)}


def configuration_of(stored: Document) -> Configuration:
    """Return a stored configuration."""
    known = {
        "retrieval": retrieval_of(stored["retrieval"]),
        "sampling": sampling_of(stored["sampling"]),
        "fallback": tuple(stored["fallback"]),
    }
    return Configuration(**{**stored, **known})


def retrieval_document(retrieval: Retrieval | None) -> Document | None:
    """Return a retrieval as it is stored: its names are the user's, and MongoDB may not take them."""
    if retrieval is None:
        return None
    return asdict(retrieval) | {"metadata_filter": json.dumps(dict(retrieval.metadata_filter))}


def retrieval_of(stored: Document | None) -> Retrieval | None:
    """Return a stored retrieval."""
    if stored is None:
        return None
    return Retrieval(**{**stored, "metadata_filter": json.loads(stored["metadata_filter"])})


def sampling_of(stored: Document) -> Sampling:
    """Return a stored sampling."""
    return Sampling(**{**stored, "stop": tuple(stored["stop"])})
