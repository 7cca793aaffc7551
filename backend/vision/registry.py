"""A table of named entries that answers an unknown name with the known ones."""

from __future__ import annotations

from typing import Generic, TypeVar

from backend.errors import UnknownName

T = TypeVar("T")


class Registry(Generic[T]):
    """Entries of one kind by name; filled by decorators where the entries are defined."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}

    def add(self, name: str, entry: T) -> None:
        """Enter it. Raises: ValueError where the name is taken, for that is a slip in code."""
        if name in self._entries:
            raise ValueError(f"the {self.kind} {name!r} is registered already; choose another name")
        self._entries[name] = entry

    def get(self, name: str) -> T:
        """The entry. Raises: UnknownName with the known names, nearest first."""
        try:
            return self._entries[name]
        except KeyError:
            raise UnknownName(self.kind, name, self._entries) from None

    def names(self) -> tuple[str, ...]:
        """Every name, sorted."""
        return tuple(sorted(self._entries))
