"""The numbers of people and vehicles in a text that a program writes: found by their form and left out. Pure."""

import re

# Mobile numbers of the mainland, with or without +86; fixed lines with their area code; the number of an identity card.
_PHONE = re.compile(r"(?<!\d)(?:(?:\+?86[- ]?)?1[3-9]\d[- ]?\d{4}[- ]?\d{4}|0\d{2,3}[- ]?\d{7,8})(?!\d)")
_IDENTITY_CARD = re.compile(r"(?<!\d)\d{17}[\dXx](?![\dXx])")
# GA 36-2018: province, letter of the office, five or six letters and digits; without province as some cameras have it is not told apart.
_PLATE = re.compile(
    r"[京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼使领][A-Z][·. ]?[A-Z0-9]{4,5}[A-Z0-9挂学警港澳]",
    re.IGNORECASE,
)


def without_numbers(text: str) -> str:
    """`text` with two characters of each such number."""
    for pattern in (_IDENTITY_CARD, _PHONE, _PLATE):
        text = pattern.sub(lambda found: f"{found[0][:2]}***", text)
    return text
