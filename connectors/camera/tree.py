"""What a message of a camera says, XML or JSON, as one kind of tree: names without namespace or prefix, text, children in their order.

Hostile or broken input costs bounded time and memory: no document type, so no entities; so deep, so many elements, so much text and no more.
"""

import json
import re
from dataclasses import dataclass, field
from typing import Any
from xml.parsers import expat

from hub.core.errors import Reason, Rejected

MOST_DEPTH = 32
MOST_NODES = 20_000
MOST_BYTES = 1 << 20
_DECLARATION = re.compile(r"\s*<\?xml[^>]*?\?>")
_DECLARED = re.compile(rb"""<\?xml[^>]*?encoding\s*=\s*["']([\w.:-]+)["']""")
# What XML 1.0 allows no document to hold, and some firmware does.
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_BOMS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))


@dataclass(slots=True)
class Node:
    """One element. `text` is its own, without blanks around it."""

    name: str
    text: str = ""
    children: "list[Node]" = field(default_factory=list)

    def all(self, name: str) -> "list[Node]":
        """The direct children of this name, compared without case."""
        wanted = name.lower()
        return [child for child in self.children if child.name.lower() == wanted]

    def child(self, *path: str) -> "Node | None":
        """The first node along a path of names."""
        node: Node | None = self
        for name in path:
            node = next(iter(node.all(name)), None) if node else None
        return node

    def said(self, *path: str) -> str:
        """Its text, empty where there is none."""
        node = self.child(*path)
        return node.text if node else ""


def decoded(raw: bytes, charset: str = "") -> str:
    """The text: by byte order mark, HTTP charset, XML declaration, UTF-8, GB 18030, whichever first reads all of it. Raises Rejected (syntax)."""
    for mark, encoding in _BOMS:
        if raw.startswith(mark):
            raw, charset = raw[len(mark) :], encoding
            break
    declared = _DECLARED.match(raw.lstrip()[:256])
    for encoding in (charset, declared[1].decode("ascii") if declared else "", "utf-8", "gb18030"):
        if encoding:
            try:
                return raw.decode("gb18030" if encoding.lower() in ("gb2312", "gbk") else encoding)
            except (LookupError, UnicodeDecodeError):
                continue
    raise Rejected(Reason.SYNTAX, "text in no encoding that is known")


def from_xml(text: str) -> list[Node]:
    """The root elements, one after the other, as some recorders send several in one part. Raises Rejected (syntax, too_large)."""
    if len(text) > MOST_BYTES:
        raise Rejected(Reason.TOO_LARGE, f"XML above {MOST_BYTES} characters")
    left = _CONTROLS.sub("", text).encode("utf-8", "replace")
    roots: list[Node] = []
    while left := _after_declaration(left):
        reader = _Reader()
        length = reader.read(left)
        roots.append(reader.root)
        left = left[length:]
        if len(roots) > MOST_DEPTH:
            raise Rejected(Reason.TOO_LARGE, f"more than {MOST_DEPTH} root elements")
    if not roots:
        raise Rejected(Reason.SYNTAX, "XML without an element")
    return roots


def _after_declaration(left: bytes) -> bytes:
    left = left.strip()
    head = left[:256].decode("utf-8", "ignore")
    found = _DECLARATION.match(head)
    return left[len(found[0].encode()) :].strip() if found else left


class _Done(Exception):
    """The root element has ended."""


class _Reader:
    def __init__(self) -> None:
        self.root = Node("")
        self._open: list[Node] = []
        self._texts: list[list[str]] = []
        self._nodes = self._ended = 0
        self._parser = expat.ParserCreate("utf-8")
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._characters
        self._parser.StartDoctypeDeclHandler = self._doctype

    def read(self, data: bytes) -> int:
        """Reads one root element; returns how many bytes it takes."""
        try:
            self._parser.Parse(data, True)
        except _Done:
            # Of `<a/>` the end is behind it, of `<a></a>` where its end tag begins.
            return data.index(b">", self._ended) + 1 if data.startswith(b"</", self._ended) else self._ended
        except expat.ExpatError as error:
            raise Rejected(Reason.SYNTAX, f"XML: {expat.ErrorString(error.code)}") from None
        raise Rejected(Reason.SYNTAX, "XML without an end")

    def _start(self, name: str, _attributes: dict[str, str]) -> None:
        self._nodes += 1
        if len(self._open) >= MOST_DEPTH or self._nodes > MOST_NODES:
            raise Rejected(Reason.TOO_LARGE, f"XML deeper than {MOST_DEPTH} or of more than {MOST_NODES} elements")
        node = Node(name.rpartition(":")[2])
        if self._open:
            self._open[-1].children.append(node)
        else:
            self.root = node
        self._open.append(node)
        self._texts.append([])

    def _end(self, _name: str) -> None:
        self._open.pop().text = "".join(self._texts.pop()).strip()
        if not self._open:
            self._ended = self._parser.CurrentByteIndex
            raise _Done

    def _characters(self, text: str) -> None:
        if self._texts:
            self._texts[-1].append(text)

    def _doctype(self, *_declared: object) -> None:
        raise Rejected(Reason.SYNTAX, "XML with a document type")


def from_json(text: str) -> list[Node]:
    """The same of JSON: an object's members are children, a list's elements are children of its name. Raises Rejected (syntax, too_large)."""
    if len(text) > MOST_BYTES:
        raise Rejected(Reason.TOO_LARGE, f"JSON above {MOST_BYTES} characters")
    try:
        told = json.loads(text)
    except ValueError as error:
        where = f" at character {error.pos}" if isinstance(error, json.JSONDecodeError) else ""
        raise Rejected(Reason.SYNTAX, f"not JSON{where}") from None
    except RecursionError:
        raise Rejected(Reason.TOO_LARGE, f"JSON deeper than {MOST_DEPTH}") from None
    count = [0]
    roots = [_node("", one, 0, count) for one in (told if isinstance(told, list) else [told])]
    if not roots or not all(root.children for root in roots):
        raise Rejected(Reason.SYNTAX, "JSON without an object")
    # The root may stand inside an object of its own name.
    return [root.children[0] if len(root.children) == 1 and root.children[0].children else root for root in roots]


def _node(name: str, value: Any, depth: int, count: list[int]) -> Node:
    count[0] += 1
    if depth > MOST_DEPTH or count[0] > MOST_NODES:
        raise Rejected(Reason.TOO_LARGE, f"JSON deeper than {MOST_DEPTH} or of more than {MOST_NODES} members")
    if isinstance(value, dict):
        children = []
        for key, one in value.items():
            children += [_node(key, item, depth + 1, count) for item in (one if isinstance(one, list) else [one])]
        return Node(name, "", children)
    if isinstance(value, list):
        return Node(name, "", [_node("", one, depth + 1, count) for one in value])
    if value is None:
        return Node(name)
    return Node(name, str(value).lower() if isinstance(value, bool) else str(value).strip())
