"""Calls functions of Salt's own returner modules.

    oracle.py OPTIONS.json

OPTIONS.json has options of a minion's configuration. Each line on stdin is a call,
{"module": "mysql", "call": "get_jid", "args": ["20260214093012345678"]}, and is answered
by a line on stdout: {"result": ...}, or {"error": "Type: message"} with what was raised.
Salt's log goes to stderr.
"""

import json
import os
import sys

import salt.config
import salt.loader


def options(given):
    """A minion's defaults with everything that it writes below `root_dir`."""
    opts = salt.config.DEFAULT_MINION_OPTS.copy()
    opts.update(given)
    opts.update({"__role": "minion", "id": given.get("id", "salt"), "grains": {}, "pillar": {}, "file_client": "local"})
    for key in ("cachedir", "pki_dir", "sock_dir", "extension_modules"):
        opts[key] = os.path.join(given["root_dir"], key)
    return opts


def call(returners, request):
    """One call, with what came of it."""
    function = f"{request['module']}.{request['call']}"
    if function not in returners:
        return {"error": f"KeyError: {returners.missing_fun_string(function)}"}
    try:
        return {"result": returners[function](*request["args"])}
    except Exception as error:  # whatever a returner raises is an answer
        return {"error": f"{type(error).__name__}: {error}"}


def main():
    """Answers calls until stdin ends."""
    with open(sys.argv[1], encoding="utf-8") as file:
        opts = options(json.load(file))
    # Salt may print; only answers go to stdout.
    answers, sys.stdout = sys.stdout, sys.stderr
    functions = salt.loader.minion_mods(opts)
    returners = salt.loader.returners(opts, functions, context={})
    for line in sys.stdin:
        answer = call(returners, json.loads(line))
        print(json.dumps(answer, default=str), file=answers, flush=True)


if __name__ == "__main__":
    main()
