"""Released migrations never change: an index that has run one has to be what it makes."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

_VERSIONS = Path(__file__).parents[2] / "migrations" / "versions"

RELEASED = {
    "0001_index.py": "1784b455e4926fbbb1737c6c8df8dc3d1e051dd015fea8e4ee231f86c6e3e0b9",
    "0002_following.py": "764e5747ce1f850dc18302d9cdc0169a63a7f4442d5ea62318cbc0e6db350962",
    "0003_writing.py": "c89ad047fbc1e42d5db7e5af679b823941459a6b126ffd1057ad5e75d46caedf",
    "0004_messages.py": "a0cfbde45d40f84da0e42af6af0902d2ff69431ec8ded0ec5527d508650d7542",
    "0005_orders.py": "ab85dac08b58bd9b8df760a38757965e60d3e2ad477d3d86fd237adeffe05ed8",
    "0006_tags.py": "9aa4bc3bee10070f7ea5735e0f1be152920fc1269d0c7b1746a96cf63d3d51bf",
    "0007_facets.py": "5dc5c748561a80a3c58b065a8c05d855ecd1244d1b32f4212cc23f5a58749739",
    "0008_titles.py": "2bf5f1f285aeea713770111a996367cdad4539b31947d76e9aeaa159ee03e779",
    "0009_message_ids.py": "cbbadb9d876e0e60e2faa4a885de3c75991b307687fdd2c88b07692d6a85a384",
}
"""The sha256 of each migration that a release has, from 0.2.0 on. Add a line with each release; never change one."""


def test_released_migrations_have_the_bytes_that_they_were_released_with() -> None:
    files = {path.name: sha256(path.read_bytes()).hexdigest() for path in _VERSIONS.glob("*.py")}
    assert {name: files.get(name) for name in RELEASED} == RELEASED
