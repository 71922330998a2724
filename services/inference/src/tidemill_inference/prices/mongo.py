"""Prices as documents."""

from tidemill_inference.prices.domain.price import Price
from tidemill_kit.mapping import DocumentCodec

PRICES = DocumentCodec(Price)
