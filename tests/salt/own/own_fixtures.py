"""
The fixtures that Salt's tests ask for, out of what was started for them: the host's modules in
the place of Salt's returners, and a master and a minion with the host as their job cache.
"""

import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import types
import unittest.mock

import pytest
import salt.config
import salt.returners

import expected
import stand_ins

# As `main.py` describes it, which fills it.
WORLD = {}

# The returners of Salt's whose tests these are.
TAKEN = ("local_cache", "mysql", "postgres_local_cache", "redis_return", "salt_cache")


def options():
    return {"returner_dirs": [WORLD["modules"]], "returner.url": WORLD["url"]}


def write_modules():
    """
    The host's module once more for each of them, by the name that Salt calls it. A test gives
    a module the options of its own, which do not say where the host is.
    """
    directory = pathlib.Path(WORLD["modules"])
    ours = (directory / "sqlite3.py").read_text()
    there = f'Returner("sqlite3", {{**__opts__, **{options()!r}}})'
    for name in TAKEN:
        named = ours.replace('__virtualname__ = "sqlite3"', f'__virtualname__ = "{name}"')
        (directory / f"{name}.py").write_text(named.replace("Returner(__virtualname__, __opts__)", there))
    sys.path.append(str(directory))


def import_module(name):
    """The module itself, as a test imports it."""
    spec = importlib.util.spec_from_file_location(f"salt.returners.{name}", f"{WORLD['modules']}/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.__opts__ = {"cachedir": WORLD["modules"]}
    if name == "mysql":
        module._get_serv = None  # Which its tests replace.
    sys.modules[module.__name__] = module
    setattr(salt.returners, name, module)
    return module


def pytest_configure(config):
    """Before the tests are imported, which want modules in their places."""
    config.store = stand_ins.Store(WORLD["url"], WORLD["database"])
    stand_ins.of_postgresql(config.store)
    write_modules()
    modules = {name: import_module(name) for name in TAKEN}
    stand_ins.of_cache(modules["salt_cache"])
    configured = salt.config.master_config
    salt.config.master_config = lambda *arguments, **named: {**configured(*arguments, **named), **options()}
    for mark in ("slow_test", "windows_whitelisted", "skip_if_binaries_missing"):
        config.addinivalue_line("markers", mark)


@pytest.fixture(scope="module")
def minion_opts():
    return {**salt.config.minion_config(os.devnull), **options()}


@pytest.fixture(scope="session")
def salt_factories():
    return unittest.mock.MagicMock()


@pytest.fixture
def configure_loader_modules():
    """Most files have one of their own."""
    return {}


def pytest_collection_modifyitems(items):
    """What asks nothing of the host does not run: it may pass, and that says nothing."""
    items[:] = [item for item in items if expected.reason(*item.nodeid.split("::")) not in expected.ASK_NOTHING]


@pytest.fixture(autouse=True)
def loader_modules(request, configure_loader_modules):
    """What a test gives to a module that Salt's loader would; and an empty store."""
    request.config.store.empty()
    for module, values in configure_loader_modules.items():
        for name, value in values.items():
            setattr(module, name, value)


class Command:
    """One of Salt's programs, as pytest-salt-factories has it."""

    def __init__(self, program, role, target=None):
        self.command = [str(pathlib.Path(sys.executable).with_name(program)), "-c", os.path.dirname(WORLD[role])]
        self.target = target
        self.key = target or ("local" if program == "salt-call" else None)

    def run(self, *arguments, minion_tgt=None, **named):  # pylint: disable=unused-argument
        target = [self.target] if self.target else []
        command = [*self.command, "--out=json", "--no-color", *target, *arguments]
        command += [f"{name}={value}" for name, value in named.items()]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        try:
            data = json.loads(done.stdout)
        except ValueError:
            data = None
        if self.key and isinstance(data, dict):
            data = data.get(self.key)
        return types.SimpleNamespace(data=data, stdout=done.stdout, returncode=done.returncode)


@pytest.fixture
def salt_master():
    return types.SimpleNamespace(config={"cachedir": WORLD["cache"]})


@pytest.fixture
def salt_minion():
    return types.SimpleNamespace(id=WORLD["id"])


@pytest.fixture
def salt_cli(salt_minion):
    return Command("salt", "master", salt_minion.id)


@pytest.fixture
def salt_run_cli():
    return Command("salt-run", "master")


@pytest.fixture
def salt_call_cli():
    return Command("salt-call", "minion")
