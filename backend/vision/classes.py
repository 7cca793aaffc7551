"""The names of a network's classes, matched with the names of labels."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources

_SEPARATORS = re.compile(r"[\s_\-]+")


@dataclass(frozen=True, slots=True)
class ClassName:
    """One class of a network.

    wnid: WordNet id, as n02096294, "" for what is not of WordNet. name: first lemma, "" for a
    class that no label can mean. synonyms: the further lemmas.
    """

    wnid: str
    name: str
    synonyms: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The name and its synonyms."""
        return (self.name, *self.synonyms)


@functools.lru_cache(maxsize=1)
def imagenet_classes() -> tuple[ClassName, ...]:
    """The 1000 classes of ImageNet 2012 in the order of a network's outputs."""
    text = resources.files("backend.vision").joinpath("imagenet_classes.json").read_text("utf-8")
    return tuple(
        ClassName(entry["wnid"], entry["name"], tuple(entry["synonyms"]))
        for entry in json.loads(text)
    )


def normalise(name: str) -> str:
    """The form in which names are compared.

    Case, and whether words are parted by blanks, underscores or hyphens, do not count:
    ``Sports_Car`` is ``sports car``. Nothing else is touched, so no two classes that
    WordNet tells apart become one by accident.
    """
    return _SEPARATORS.sub(" ", name).strip().casefold()


def _plurals(name: str) -> tuple[str, ...]:
    """Regular English plurals of a normalised name."""
    if name.endswith(("s", "x", "z", "ch", "sh")):
        return (f"{name}es",)
    if name.endswith("y") and name[-2:-1] not in set("aeiou"):
        return (f"{name[:-1]}ies",)
    if name.endswith("o"):
        return (f"{name}s", f"{name}es")
    return (f"{name}s",)


class ClassMatcher:
    """Finds the classes that a label means.

    A label's name matches every class one of whose names, or their regular plural, equals
    it after ``normalise``, or whose WordNet id it is. A name that only occurs inside a
    class name (``apple`` in ``custard apple``) does not match: such a guess is often
    wrong, and ``predicted_values`` says it rightly.
    """

    def __init__(self, classes: Iterable[ClassName]) -> None:
        exact: dict[str, list[int]] = {}
        plural: dict[str, list[int]] = {}
        for index, entry in enumerate(classes):
            for name in dict.fromkeys(normalise(n) for n in (*entry.names, entry.wnid) if n):
                exact.setdefault(name, []).append(index)
                for form in _plurals(name):
                    plural.setdefault(form, []).append(index)
        self._exact: Mapping[str, list[int]] = exact
        self._plural: Mapping[str, list[int]] = plural

    def match(self, names: Iterable[str]) -> tuple[int, ...]:
        """Ascending indices of the classes that any of the names means; empty if none does."""
        found: set[int] = set()
        for name in names:
            wanted = normalise(name)
            found.update(self._exact.get(wanted) or self._plural.get(wanted) or ())
        return tuple(sorted(found))
