"""The tables of classes: what a ticket's code means, by its standard and kind."""

import csv
from collections import Counter

import pytest

from hub import classes
from hub.registry_check import load
from hub.shipped import shipped

NOW, OF_2013, OF_2007 = "GB/T 47678.5-2026", "GB/T 30428.2-2013", "CJ/T 214-2007"


def rows() -> list[dict[str, str]]:
    text = (shipped("hub") / "classes.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def test_a_code_counts_with_its_standard_and_kind() -> None:
    assert classes.name(NOW, classes.COMPONENT, "01001") == "供水井盖"
    assert classes.name(NOW, classes.COMPONENT_FAULT, "01001") == "供水井盖异常"
    assert classes.name(NOW, classes.MATTER, "01001") is None
    assert classes.name(NOW, classes.MATTER, "06010") == classes.name(OF_2013, classes.MATTER, "0110") == "暴露垃圾"
    assert classes.name(OF_2007, classes.MATTER, "0102") == "暴露垃圾"
    assert classes.title(NOW, "99999") == "99999"


def test_each_code_stands_there_once_with_where_it_comes_from() -> None:
    keys = Counter((row["standard"], row["kind"], row["code"]) for row in rows())
    assert [key for key, times in keys.items() if times > 1] == []
    assert [row for row in rows() if not (row["name"] and row["from"] and row["source"])] == []


def test_all_matters_of_the_standard_are_there() -> None:
    """Majors 06 to 10 as annex C has them: the minors run with gaps (06031, 07005, 09007)."""
    codes = [row["code"] for row in rows() if row["standard"] == NOW and row["kind"] == classes.MATTER]
    assert Counter(code[:2] for code in codes if int(code[2:]) < 80) == {"06": 51, "07": 7, "08": 16, "09": 21, "10": 2}
    assert {"06031", "07005", "09007"}.isdisjoint(codes)


@pytest.mark.parametrize("row", [row for row in rows() if row["standard"] == NOW and int(row["code"][2:]) >= 80])
def test_a_local_extension_says_that_it_is_one(row: dict[str, str]) -> None:
    assert row["name"].endswith("（自定义）")


def test_the_fault_of_each_component_is_named_after_it() -> None:
    of_kind = {
        kind: {row["code"]: row["name"] for row in rows() if row["kind"] == kind}
        for kind in (classes.COMPONENT, classes.COMPONENT_FAULT)
    }
    assert of_kind[classes.COMPONENT_FAULT] == {c: f"{n}异常" for c, n in of_kind[classes.COMPONENT].items()}


def test_what_the_rules_of_the_shipped_town_open_is_in_the_table() -> None:
    codes = {(rule.class_standard, rule.class_code) for rule in load(shipped("deploy/town")).rules.all}
    assert codes
    assert [code for code in codes if classes.title(*code) == code[1]] == []
