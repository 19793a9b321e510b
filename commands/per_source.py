"""Options that are given once for each of several sources."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import RequestError

NAME = "{name}"
"""Stands for a source's short name."""


def one_each(flag: str, values: Sequence[str], names: Sequence[str]) -> list[str | None]:
    """What a repeated option says for each source.

    Args:
        flag: The option, for messages.
        values: As given, in their order.
        names: The sources' short names, in theirs.

    Returns:
        One a source: None where the option was not given at all.

    Raises:
        RequestError: Neither one a source, nor one with `{name}` in it.
    """
    if not values:
        return [None] * len(names)
    if len(values) == 1 and NAME in values[0]:
        return [values[0].replace(NAME, name) for name in names]
    if len(values) != len(names):
        raise RequestError(
            f"{flag} was given {len(values)} times for {len(names)} sources: give it once each, in "
            f"their order, or once with {NAME} in it ({NAME} is {names[0]} for the first)"
        )
    return [value.replace(NAME, name) for value, name in zip(values, names, strict=True)]
