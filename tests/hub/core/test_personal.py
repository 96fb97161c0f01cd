"""What a program's sentence may say of people and vehicles."""

import pytest

from hub.core.personal import without_numbers


@pytest.mark.parametrize(
    ("said", "masked"),
    [
        ("call 13800138000 or +86 138-0013-8000", "call 13*** or +8***"),
        ("0371-62151234", "03***"),
        ("豫A12345在此停车, 豫AD12345 as well", "豫A***在此停车, 豫A*** as well"),
        ("41012219900101123X", "41***"),
        ("MN 88888880000001, QN 20260302093000123", "MN 88888880000001, QN 20260302093000123"),
        ("", ""),
    ],
)
def test_a_programs_sentence_names_no_phone_plate_or_identity_card(said: str, masked: str) -> None:
    assert without_numbers(said) == masked
