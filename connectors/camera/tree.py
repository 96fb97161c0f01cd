"""What a message of a camera says, XML or JSON, as one kind of tree: names without namespace or prefix, text, children in their order.

Hostile or broken input costs bounded time and memory: no document type, so no entities; so deep, so many elements, so much text and no more. Of a
text that breaks off somewhere the roots before that are given, and why there are no more.
"""

import codecs
import json
import re
from dataclasses import dataclass, field
from typing import Any
from xml.parsers import expat

from hub.core.errors import Reason, Rejected

MOST_DEPTH = 32
MOST_NODES = 20_000
MOST_BYTES = 1 << 20
MOST_ROOTS = 32
# What a text may call its encoding, by Python's name of it, and what reads it. Of the others some take minutes, and ISO 8859-1 reads
# everything, and wrongly. None: believed only of what looks like it.
_ENCODINGS = {
    "utf-8": "utf-8",
    "ascii": "utf-8",
    "big5": "big5",
    **dict.fromkeys(("gb2312", "gbk", "gb18030"), "gb18030"),
    **dict.fromkeys(("utf-16", "utf-16-le", "utf-16-be")),
}
_DECLARATION = re.compile(r"\s*<\?xml[^>]*?\?>")
_DECLARED = re.compile(rb"""<\?xml[^>]*?encoding\s*=\s*["']([\w.:-]+)["']""")
# What XML 1.0 allows no document to hold, and some firmware does.
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_BOMS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
# Halves of characters, which JSON may hold and no record can.
_HALVES = re.compile("[\ud800-\udfff]")
# An ampersand that begins nothing: users give their cameras names, and some firmware writes them as they are.
_AMPERSAND = re.compile("&(?!(?:#[0-9]{1,7}|#x[0-9A-Fa-f]{1,6}|amp|lt|gt|quot|apos);)")

Read = tuple[list["Node"], Rejected | None]
"""Root elements, at least one, and why there are no more; None: that was all."""


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
    """The text: by byte order mark, HTTP charset, XML declaration, UTF-8, GB 18030, whichever first reads all of it; UTF-8 with a few bytes amiss,
    as where a name was cut in the middle of a character, is still UTF-8. What cannot be read becomes U+FFFD. Raises Rejected (too_large).
    """
    if len(raw) > MOST_BYTES:
        raise Rejected(Reason.TOO_LARGE, f"text above {MOST_BYTES} bytes")
    for mark, encoding in _BOMS:
        if raw.startswith(mark):
            raw, charset = raw[len(mark) :], encoding
            break
    if not charset and raw.startswith(b"<\0"):
        charset = "utf-16-le"
    declared = _DECLARED.match(raw.lstrip()[:256])
    for encoding in (charset, declared[1].decode("ascii") if declared else "", "utf-8"):
        if known := _encoding(encoding, raw):
            try:
                return raw.decode(known)
            except UnicodeDecodeError:
                continue
    text = raw.decode("utf-8", "replace")
    wrong = text.count("\ufffd")
    # What GB 18030 holds is seldom UTF-8, and then Greek or Arabic.
    right = sum("\u2e80" <= letter <= "\uffef" for letter in text)
    return text if right > wrong else raw.decode("gb18030", "replace")


def _encoding(name: str, raw: bytes) -> str:
    """What reads it; empty where the name is none, or not to be believed."""
    if not re.fullmatch(r"[\w.:-]{1,40}", name, re.ASCII):
        return ""
    try:
        python = codecs.lookup(name).name
    except LookupError:
        return ""
    if python not in _ENCODINGS:
        return ""
    return _ENCODINGS[python] or (python if b"\0" in raw[:64] else "")


def from_xml(text: str) -> Read:
    """Roots one after the other, as some recorders send several in one part. Raises Rejected where there is none: syntax, too_large."""
    left = _AMPERSAND.sub("&amp;", _CONTROLS.sub("", text)).encode("utf-8", "replace")
    roots: list[Node] = []
    nodes = 0
    while b"<" in (left := _after_declaration(left)) or not roots:
        if len(roots) == MOST_ROOTS:
            return roots, Rejected(Reason.TOO_LARGE, f"more than {MOST_ROOTS} root elements")
        reader = _Reader(MOST_NODES - nodes)
        try:
            length = reader.read(left)
        except Rejected as rejected:
            if not roots:
                raise
            return roots, rejected
        if length < 0 and roots:
            break  # a comment, or what else says nothing
        if length < 0:
            raise Rejected(Reason.SYNTAX, "XML without an element")
        nodes += reader.nodes
        roots.append(reader.root)
        left = left[length:]
    return roots, None


def _after_declaration(left: bytes) -> bytes:
    left = left.strip()
    head = left[:256].decode("utf-8", "ignore")
    found = _DECLARATION.match(head)
    return left[len(found[0].encode()) :].strip() if found else left


class _Done(Exception):
    """The root element has ended."""


class _Reader:
    def __init__(self, most_nodes: int) -> None:
        self.root = Node("")
        self.nodes = 0
        self._most_nodes = most_nodes
        self._open: list[Node] = []
        self._texts: list[list[str]] = []
        self._ended = 0
        self._parser = expat.ParserCreate("utf-8")
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._characters
        self._parser.StartDoctypeDeclHandler = self._doctype

    def read(self, data: bytes) -> int:
        """Reads one root element; returns how many bytes it takes, -1 where there is none."""
        try:
            self._parser.Parse(data, True)
        except _Done:
            # Of `<a/>` the end is behind it, of `<a></a>` where its end tag begins.
            return data.index(b">", self._ended) + 1 if data.startswith(b"</", self._ended) else self._ended
        except expat.ExpatError as error:
            if not self.nodes and error.code == expat.errors.codes[expat.errors.XML_ERROR_NO_ELEMENTS]:
                return -1
            raise Rejected(Reason.SYNTAX, f"XML: {expat.ErrorString(error.code)}") from None
        raise Rejected(Reason.SYNTAX, "XML without an end")

    def _start(self, name: str, _attributes: dict[str, str]) -> None:
        self.nodes += 1
        if len(self._open) >= MOST_DEPTH or self.nodes > self._most_nodes:
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


def from_json(text: str) -> Read:
    """The same of JSON: an object's members are children, a list's elements are children of its name. Raises Rejected (syntax, too_large)."""
    # Line ends within a text are not allowed, and occur.
    decoder, place, count = json.JSONDecoder(strict=False), len(text) - len(text.lstrip()), [0]
    roots: list[Node] = []
    while True:
        try:
            told, place = _one(decoder, text, place)
            roots += [_node("", one, 0, count) for one in (told if isinstance(told, list) else [told])]
        except Rejected as rejected:
            if not roots:
                raise
            return roots, rejected
        if not roots:
            raise Rejected(Reason.SYNTAX, "JSON without an object")
        if len(roots) > MOST_ROOTS:
            return roots[:MOST_ROOTS], Rejected(Reason.TOO_LARGE, f"more than {MOST_ROOTS} objects")
        following = _BEGINNING.search(text, place)
        if following is None:
            return roots, None
        place = following.start()


_BEGINNING = re.compile(r"[{\[]")


def _one(decoder: json.JSONDecoder, text: str, place: int) -> tuple[Any, int]:
    try:
        return decoder.raw_decode(text, place)
    except ValueError as error:
        where = f" at character {error.pos}" if isinstance(error, json.JSONDecodeError) else ""
        raise Rejected(Reason.SYNTAX, f"not JSON{where}") from None
    except RecursionError:
        raise Rejected(Reason.TOO_LARGE, f"JSON deeper than {MOST_DEPTH}") from None


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
    if isinstance(value, bool):
        return Node(name, str(value).lower())
    return Node(name, _HALVES.sub("\ufffd", _CONTROLS.sub("", str(value))).strip())
