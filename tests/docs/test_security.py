"""Every row of the threat table names a test that is there."""

import re
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def test_every_row_of_the_threat_table_has_a_test() -> None:
    lines = (_ROOT / "docs" / "security.md").read_text("utf-8").splitlines()
    rows = [line for line in lines if line.startswith("| ")][1:]
    assert len(rows) > 20
    for row in rows:
        found = _TEST.search(row)
        assert found, row
        assert f"def {found[2]}(" in (_ROOT / found[1]).read_text("utf-8"), row
