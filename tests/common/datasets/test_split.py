"""Splits by group."""

import pytest

from medbundles.datasets.split import FRACTIONS, split_by_group, split_of

PINNED = ["train", "validation", "test", "train", "train", "train"]
CASES = [{"subject": f"s{i // 3}", "n": i} for i in range(900)]


def test_every_case_is_in_exactly_one_part() -> None:
    parts = split_by_group(CASES)
    assert sorted(case["n"] for part in parts.values() for case in part) == list(range(900))


def test_no_subject_is_in_two_parts() -> None:
    subjects = [{case["subject"] for case in part} for part in split_by_group(CASES).values()]
    assert sum(len(part) for part in subjects) == len(set.union(*subjects)) == 300


def test_sizes_come_close_to_the_fractions() -> None:
    parts = split_by_group(CASES)
    assert {name: len(part) / 900 for name, part in parts.items()} == pytest.approx(FRACTIONS, abs=0.06)


def test_a_subject_stays_where_it_is_when_cases_are_added() -> None:
    few, many = split_by_group(CASES[:300]), split_by_group(CASES)
    assert all({c["n"] for c in few[name]} <= {c["n"] for c in many[name]} for name in few)


def test_another_seed_gives_another_split() -> None:
    assert split_by_group(CASES, seed=1)["test"] != split_by_group(CASES, seed=0)["test"]


def test_the_split_is_the_same_on_every_machine() -> None:
    assert [split_of(f"s{i}") for i in range(6)] == PINNED


def test_fractions_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(ValueError, match="add up to 1"):
        split_by_group(CASES, fractions={"train": 0.5, "test": 0.6})
