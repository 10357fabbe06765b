"""Times Salt's own returner: salt_returner.py OPTIONS.json RETURNER COUNT SIZE kept|new.

Prints returns per second. `new` forgets the connection after each return, as a minion
does that forks for every job.
"""

import json
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "salt"))

import oracle  # noqa: E402
import salt.loader  # noqa: E402


def returns(count, size):
    """Returns such as the benchmark sends, each different."""
    for number in range(count):
        yield {
            "jid": f"2026{number:016}",
            "id": f"minion-{number % 500}",
            "fun": "state.apply",
            "fun_args": [],
            "return": {"state": "x" * size, "number": number},
            "retcode": 0,
            "success": True,
        }


def main():
    """Times one returner."""
    with open(sys.argv[1], encoding="utf-8") as file:
        opts = oracle.options(json.load(file))
    name, count, size, kept = sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5] == "kept"
    context = {}
    loaded = salt.loader.returners(opts, salt.loader.minion_mods(opts), context=context)
    store = loaded[f"{name}.returner"]
    items = list(returns(count, size))
    store(items[0])
    begun = time.monotonic()
    for item in items[1:]:
        if not kept:
            context.clear()
        store(item)
    print((count - 1) / (time.monotonic() - begun))


if __name__ == "__main__":
    main()
