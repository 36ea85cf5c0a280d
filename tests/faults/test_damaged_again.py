"""Two processes whose index is damaged over and over, also while it is put right; `make true` does it 300 times."""

from __future__ import annotations

import os
import random
import shutil
import time
from pathlib import Path

import pytest

from tests.builders import index_path, make_conversation, second_process
from tests.faults.test_damaged_index import DAMAGES, SERVE, delete, delete_the_log

pytestmark = pytest.mark.long

TIMES = int(os.environ.get("CONVSTORE_TEST_DAMAGES", "5"))
NUMBER = 20


def delete_all(path: Path) -> None:
    shutil.rmtree(path.parent, ignore_errors=True)


def damage(root: Path, dice: random.Random) -> None:
    """Do one kind of damage, unless the index is away just now."""
    try:
        dice.choice([*DAMAGES, delete, delete_the_log, delete_all])(index_path(root))
    except FileNotFoundError:
        delete_all(index_path(root))


def test_whenever_it_is_damaged_each_process_counts_right_again_and_never_wrong(root: Path) -> None:
    for number in range(1, NUMBER + 1):
        make_conversation(root, number)
    dice = random.Random(TIMES)  # noqa: S311
    with second_process(SERVE, root, NUMBER) as one, second_process(SERVE, root, NUMBER) as two:
        assert [one.hear(), two.hear()] == [str(NUMBER)] * 2
        for number in range(NUMBER + 1, NUMBER + TIMES + 1):
            time.sleep(dice.choice([0, 0.01, 0.1, 0.7]))
            damage(root, dice)
            if dice.random() < 0.3:
                time.sleep(0.3 * dice.random())
                damage(root, dice)
            make_conversation(root, number)
            for process in (one, two):
                process.say(str(number))
            assert [one.hear(), two.hear()] == [str(number)] * 2
