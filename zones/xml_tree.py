"""XML from strangers, as a small tree.

In charge of: reading elements, attributes and text within bounds, and refusing what XML can be abused for: a DTD's
own declarations, entities of every kind, external parts. Not in charge of: what the elements mean
(`providers/mlp.py`, `formats/`).

A document may name an external DTD, as MLP's do: it is never loaded. A reference to an entity that only the DTD would
define is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.parsers import expat

__all__ = ["Element", "XmlRefused", "parse_xml"]

MOST_DEPTH = 64
MOST_ELEMENTS = 200_000


class XmlRefused(ValueError):
    """The document is not well-formed, or does what no document of ours needs."""


@dataclass(slots=True)
class Element:
    """An element; names without their namespace."""

    name: str
    attributes: dict[str, str] = field(default_factory=dict[str, str])
    children: list[Element] = field(default_factory=list["Element"])
    text: str = ""  #: of its own, joined

    def first(self, name: str) -> Element | None:
        """The first child of a name."""
        return next((child for child in self.children if child.name == name), None)

    def all(self, name: str) -> Iterator[Element]:
        """Every element of a name, at any depth, in order."""
        for child in self.children:
            if child.name == name:
                yield child
            yield from child.all(name)

    def find(self, name: str) -> Element | None:
        """The first element of a name at any depth."""
        return next(self.all(name), None)

    def text_of(self, name: str, default: str = "") -> str:
        """Text of the first element of a name at any depth."""
        found = self.find(name)
        return found.text.strip() if found is not None else default


def parse_xml(document: bytes, *, most_elements: int = MOST_ELEMENTS) -> Element:
    """The root element. Raises XmlRefused."""
    root = Element("")
    stack = [root]
    texts: list[list[str]] = [[]]
    seen = 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal seen
        seen += 1
        if seen > most_elements:
            raise XmlRefused(f"more than {most_elements} elements")
        if len(stack) > MOST_DEPTH:
            raise XmlRefused(f"elements nested more than {MOST_DEPTH} deep")
        element = Element(_local(name), {_local(key): value for key, value in attributes.items()})
        stack[-1].children.append(element)
        stack.append(element)
        texts.append([])

    def end(name: str) -> None:
        stack.pop().text = "".join(texts.pop())

    def characters(data: str) -> None:
        texts[-1].append(data)

    def doctype(name: str, system: str | None, public: str | None, has_internal_subset: bool) -> None:
        if has_internal_subset:
            raise XmlRefused("a DTD inside the document is refused")

    def refuse(*_: object) -> None:
        raise XmlRefused("entities are refused")

    parser = expat.ParserCreate()
    parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = characters
    parser.StartDoctypeDeclHandler = doctype
    parser.EntityDeclHandler = refuse
    parser.SkippedEntityHandler = refuse
    parser.ExternalEntityRefHandler = refuse  # type: ignore[assignment]  # it never returns the number that it should
    try:
        parser.Parse(document, True)
    except expat.ExpatError as error:
        raise XmlRefused(f"not well-formed: {error}") from None
    except (LookupError, ValueError) as error:  # an encoding that Python does not know
        raise error if isinstance(error, XmlRefused) else XmlRefused(str(error)) from None
    return root.children[0]


def _local(name: str) -> str:
    return name.rpartition(":")[2]
