"""
What Salt's tests look into the store with, in the shape that they know: PostgreSQL's driver,
and Salt's own cache.
"""

import json
import sqlite3
import sys
import time
import types
import unittest.mock
import urllib.request

import salt.cache


class Store:
    """The host's database of SQLite. Each look waits until all that was acknowledged is stored."""

    def __init__(self, url, file):
        self.url = url
        self.file = file

    def drained(self):
        deadline = time.monotonic() + 60
        while True:
            with urllib.request.urlopen(f"{self.url}/v1/returners") as answer:
                waiting = sum(returner["depth"] for returner in json.load(answer)["returners"])
            if not waiting:
                return self.file
            assert time.monotonic() < deadline, f"{waiting} items are not stored"
            time.sleep(0.02)

    def empty(self):
        with sqlite3.connect(self.drained()) as database:
            for table in ("jids", "salt_returns", "salt_events"):
                database.execute(f"DELETE FROM {table}")


class Cursor:
    """Of ``psycopg2``: the statements of one file of tests."""

    def __init__(self, store):
        self.store = store
        self.rows = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return False

    def execute(self, statement, values=()):
        if statement.startswith("TRUNCATE"):
            self.store.empty()
        elif statement.startswith("SELECT"):
            # The function is a column of its own there.
            statement = statement.replace("max(fun)", "max(json_extract(load, '$.fun'))").replace("%s", "?")
            with sqlite3.connect(self.store.drained()) as database:
                self.rows = database.execute(statement, values)
        elif not statement.lstrip().startswith("CREATE TABLE"):
            raise NotImplementedError(statement)

    def fetchone(self):
        return self.rows.fetchone()


def of_postgresql(store):
    connection = unittest.mock.MagicMock()
    connection.cursor = lambda: Cursor(store)
    driver = types.ModuleType("psycopg2")
    driver.connect = lambda **_: connection
    driver.errors = types.ModuleType("psycopg2.errors")
    sys.modules.update({"psycopg2": driver, "psycopg2.errors": driver.errors, "docker": unittest.mock.MagicMock()})


def of_cache(job_cache):
    """Salt's ``Cache`` where it has jobs, by what a job cache is told and asked."""

    def value(bank, key):
        kind, _, jid = bank.removeprefix("jobs/").partition("/")
        if kind == "returns":
            return job_cache.get_jid(jid).get(key, {})
        load = job_cache.get_load(key)
        return sorted(load["Minions"]) if kind == "minions" else load

    def store(bank, key, data):
        assert bank == "jobs/loads", bank
        job_cache.save_load(key, data)

    by_job_cache = {
        "fetch": value,
        "contains": lambda bank, key: bool(value(bank, key)),
        "list": lambda bank: list(job_cache.get_jid(bank.rpartition("/")[2])),
        "store": store,
    }
    for name, ours in by_job_cache.items():
        setattr(salt.cache.Cache, name, either(getattr(salt.cache.Cache, name), ours))


def either(usual, ours):
    """Salt's own for what is no job."""

    def asked(self, bank, *arguments, **named):
        if bank.startswith("jobs/"):
            return ours(bank, *arguments, **named)
        return usual(self, bank, *arguments, **named)

    return asked
