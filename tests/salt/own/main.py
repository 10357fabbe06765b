"""
Runs tests of Salt's own, out of its source distribution, through the host's modules, and
compares what comes of each with `expected.py`.

    main.py WORLD [PART OF A NAME]

WORLD is a JSON object of what was started for them: `source` (the directory above `tests`),
`url` of a host with `sqlite3`, `database` (its file), `modules` (what `returner salt install`
wrote), `master` and `minion` (their configurations), `cache` (the master's directory for it),
`id` (the minion's).
"""

import json
import pathlib
import re
import sys

import pytest

import expected
import own_fixtures


class Outcomes:
    """What failed of each test that ran, by its file and the name of its function."""

    def __init__(self, source):
        self.source = source
        self.failed = {}

    def pytest_runtest_logreport(self, report):
        path, _, name = report.nodeid.partition("::")
        failed = self.failed.setdefault((path, name.partition("[")[0]), [])
        if report.outcome != "passed":
            failed.append(report.longreprtext.strip().rpartition("\n")[2])

    def compare(self, part):
        """Prints a line for each test of the files; gives how many are not as listed."""
        wrong = 0
        for file in expected.FILES:
            path = self.source / file
            for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.M) if path.exists() else ():
                if part not in name:
                    continue
                reason = expected.reason(file, name)
                failed = self.failed.get((file, name))
                as_listed = reason in expected.ASK_NOTHING or (
                    failed is not None and reason != expected.NOT_LISTED and bool(failed) == bool(reason)
                )
                wrong += not as_listed
                word = "did not run" if failed is None else f"fails: {failed}" if failed else "passes"
                if as_listed:
                    word = f"does not apply: {reason}" if reason else "passes"
                print(f"{'' if as_listed else 'NOT AS LISTED: '}{file}::{name}: {word}")
        return wrong


def main():
    """Ends with 1 if something came out otherwise than it is listed, or nothing ran."""
    world, part = json.loads(sys.argv[1]), "".join(sys.argv[2:])
    source = pathlib.Path(world["source"])
    own_fixtures.WORLD.update(world)
    outcomes = Outcomes(source)
    files = [str(source / file) for file in expected.FILES if (source / file).exists()]
    # Their own `conftest.py` starts another Salt.
    options = "-q -p own_fixtures --noconftest -p no:cacheprovider -W ignore --tb=line --show-capture=no".split()
    pytest.main([*options, "--rootdir", str(source), "-k", part, *files], plugins=[outcomes])
    wrong = outcomes.compare(part)
    sys.exit(1 if wrong or not outcomes.failed else 0)


if __name__ == "__main__":
    main()
