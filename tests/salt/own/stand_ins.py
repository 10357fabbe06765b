"""
What Salt's tests import and the host has nothing of, in its shape: a look into the store, by
SQLAlchemy, by PostgreSQL's driver and by Salt's own cache.

Each look waits until all that was acknowledged is stored.
"""

import json
import sqlite3
import sys
import types
import unittest.mock
import urllib.request
import time

import salt.cache
import sqlalchemy
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.orm import Session as AlchemySession


class Store:
    """The host's database of SQLite."""

    def __init__(self, url, file):
        self.url = url
        self.file = file

    def drained(self):
        deadline = time.monotonic() + 60
        while True:
            with urllib.request.urlopen(f"{self.url}/v1/returners") as answer:
                waiting = sum(returner["depth"] for returner in json.load(answer)["returners"])
            if not waiting:
                return self
            assert time.monotonic() < deadline, f"{waiting} items are not stored"
            time.sleep(0.02)

    def empty(self):
        with sqlite3.connect(self.drained().file) as database:
            for table in ("jids", "salt_returns", "salt_events"):
                database.execute(f"DELETE FROM {table}")


class Base(DeclarativeBase):
    pass


class Jids(Base):
    __tablename__ = "jids"
    jid = sqlalchemy.Column(sqlalchemy.Text, primary_key=True)
    load = sqlalchemy.Column(sqlalchemy.Text)


class Returns(Base):
    __tablename__ = "salt_returns"
    jid = sqlalchemy.Column(sqlalchemy.Text, primary_key=True)
    id = sqlalchemy.Column(sqlalchemy.Text, primary_key=True)
    fun = sqlalchemy.Column(sqlalchemy.Text)


class Events(Base):
    __tablename__ = "salt_events"
    tag = sqlalchemy.Column(sqlalchemy.Text, primary_key=True)
    data = sqlalchemy.Column(sqlalchemy.Text)


def of_sqlalchemy(store):
    """``salt.sqlalchemy``, which 3008 does not have yet."""
    module = types.ModuleType("salt.sqlalchemy")
    engine = sqlalchemy.create_engine(f"sqlite:///{store.file}")
    module.reconfigure_orm = lambda opts: None
    module.create_all = lambda: None
    module.drop_all = store.empty
    module.Session = lambda: AlchemySession(store.drained() and engine)
    models = types.ModuleType("salt.sqlalchemy.models")
    models.model_for = {"Jids": Jids, "Returns": Returns, "Events": Events}.__getitem__
    module.models = models
    salt.sqlalchemy = module
    sys.modules.update({"salt.sqlalchemy": module, "salt.sqlalchemy.models": models})


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
            with sqlite3.connect(self.store.drained().file) as database:
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
    """Salt's ``Cache`` where it has jobs, by the questions of a job cache."""
    usual = salt.cache.Cache.fetch

    def fetch(self, bank, key):
        kind, _, jid = bank.removeprefix("jobs/").partition("/")
        if not bank.startswith("jobs/"):
            return usual(self, bank, key)
        if kind == "returns":
            return job_cache.get_jid(jid)[key]
        load = job_cache.get_load(key)
        return sorted(load["Minions"]) if kind == "minions" else load

    salt.cache.Cache.fetch = fetch
