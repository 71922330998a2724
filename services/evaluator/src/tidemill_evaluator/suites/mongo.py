"""Stored form of suites."""

from tidemill_evaluator.suites.domain.suite import Suite
from tidemill_kit.mapping import DocumentCodec

SUITES = DocumentCodec(Suite)
