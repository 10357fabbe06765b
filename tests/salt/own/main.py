"""Runs the tests of `expected.py` in a checkout of Salt, and compares what comes of them."""

import pathlib
import sys

import pytest

import expected


class Outcomes:
    """What came of each test, by the name of its function."""

    def __init__(self):
        self.failed = {}

    def pytest_runtest_logreport(self, report):
        path, _, name = report.nodeid.partition("::")
        key = path, name.partition("[")[0]
        failed = self.failed.setdefault(key, [])
        if report.outcome != "passed":
            failed.append(report.longreprtext.strip().splitlines()[-1:])


def main():
    """Ends with 1 if something came out otherwise than it is listed."""
    checkout, part = pathlib.Path(sys.argv[1]), sys.argv[2]
    files = [str(checkout / file) for file in expected.FILES if (checkout / file).exists()]
    if not files:
        sys.exit(f"error: `{checkout}` has none of the tests of `expected.py`\n  hint: it is no checkout of Salt, or an old one")
    outcomes = Outcomes()
    options = ["-q", "-p", "own_fixtures", "--noconftest", "-p", "no:cacheprovider", "-W", "ignore", "--tb=short", "--show-capture=no"]
    pytest.main([*options, "--rootdir", str(checkout), "-k", part, *files], plugins=[outcomes])
    wrong = 0
    for (file, name), failed in outcomes.failed.items():
        reason = expected.FILES.get(file, {}).get(name, "it is not listed")
        as_listed = not failed if reason is expected.PASSES else failed and reason != "it is not listed"
        wrong += not as_listed
        word = "passes" if not failed else "does not apply: " + reason if as_listed else f"FAILED: {failed}"
        print(f"{file}::{name}: {word}{'' if as_listed else ' (listed otherwise)'}")
    sys.exit(1 if wrong or not outcomes.failed else 0)


if __name__ == "__main__":
    main()
