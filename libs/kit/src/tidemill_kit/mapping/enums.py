"""Enums of the domain and of the contract: a member `QUEUED` is the value `EVALUATION_STATE_QUEUED`."""

from collections.abc import Mapping
from enum import Enum
from functools import cache

from google.protobuf.descriptor import EnumDescriptor

_UNSPECIFIED = "UNSPECIFIED"


def suffixes(enum: EnumDescriptor) -> Mapping[str, int]:
    """Return the numbers of a contract's enum by name without its prefix, but for UNSPECIFIED.

    Raises:
        TypeError: its zero is no `<PREFIX>_UNSPECIFIED`.

    """
    zero = enum.values_by_number[0].name
    if not zero.endswith(_UNSPECIFIED):
        message = f"{enum.full_name} has no prefix: its zero is {zero}, not <PREFIX>_{_UNSPECIFIED}"
        raise TypeError(message)
    prefix = zero.removesuffix(_UNSPECIFIED)
    return {value.name.removeprefix(prefix): value.number for value in enum.values if value.number}


@cache
def numbers_of(cls: type[Enum], enum: EnumDescriptor) -> Mapping[Enum, int]:
    """Return the contract's number of each member of a domain enum.

    Raises:
        TypeError: a member has no value of its name in the contract.

    """
    known = suffixes(enum)
    if unknown := [member.name for member in cls if member.name not in known]:
        message = f"{cls.__name__}.{unknown[0]} has no value in {enum.full_name}: add it, or give the field's number"
        raise TypeError(message)
    return {member: known[member.name] for member in cls}


@cache
def members_of(cls: type[Enum], enum: EnumDescriptor) -> Mapping[int, Enum]:
    """Return the members of a domain enum by number. What only the contract has is refused as input, by number."""
    return {number: member for name, number in suffixes(enum).items() for member in cls if member.name == name}
