"""
The fixtures that Salt's tests ask for: a host, its modules in the place of Salt's returners,
and a master and a minion with the host as their job cache.
"""

import importlib.util
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import types
import unittest.mock
import urllib.error
import urllib.request

import pytest
import salt.config
import salt.returners

import stand_ins

# The returners of Salt's whose tests these are.
TAKEN = ("salt_cache", "sqlalchemy", "postgres_local_cache")


class World:
    """All that runs while the tests do."""

    def __init__(self):
        self.processes = []
        self.directories = []
        self.root = self.directory()

    def directory(self):
        """In the directory for temporary files: the paths of sockets are short."""
        self.directories.append(pathlib.Path(tempfile.mkdtemp(prefix="own-")))
        return self.directories[-1]

    def port(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            return free.getsockname()[1]

    def run(self, name, *command):
        log = open(self.root / f"{name}.log", "wb")
        self.processes.append(subprocess.Popen(command, cwd=self.root, stdout=log, stderr=log, start_new_session=True))

    def end(self):
        for process in reversed(self.processes):
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        for directory in self.directories:
            shutil.rmtree(directory, ignore_errors=True)

    def start_host(self):
        port = self.port()
        self.url = f"http://127.0.0.1:{port}"
        database = self.root / "salt.db"
        config = self.root / "returner.yaml"
        config.write_text(
            f"return: sqlite3\nhost.listen: 127.0.0.1:{port}\nhost.data: {self.root}/data\n"
            f"sqlite3.database: {database}\n"
        )
        program = os.environ["RETURNER"]
        self.run("host", program, "serve", "--config", str(config))
        wait("the host", self.is_ready)
        roots = self.root / "srv"
        roots.mkdir()
        subprocess.run(
            [program, "salt", "install", "--config", str(config), "--to", str(roots)], check=True, capture_output=True
        )
        self.modules = roots / "_returners"
        ours = (self.modules / "sqlite3.py").read_text()
        for name in TAKEN:
            # What Salt calls the module; the host's returner is the same one.
            named = ours.replace('__virtualname__ = "sqlite3"', f'__virtualname__ = "{name}"')
            (self.modules / f"{name}.py").write_text(named.replace("Returner(__virtualname__", 'Returner("sqlite3"'))
        sys.path.append(str(self.modules))
        self.store = stand_ins.Store(self.url, database)

    def is_ready(self):
        try:
            with urllib.request.urlopen(f"{self.url}/readyz"):
                return True
        except (urllib.error.URLError, ConnectionError):
            return False

    def options(self):
        return {"returner_dirs": [str(self.modules)], "returner.url": self.url, "cachedir": str(self.root / "cache")}

    def module(self, name):
        """The module itself, as a test imports it."""
        spec = importlib.util.spec_from_file_location(f"salt.returners.{name}", self.modules / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        module.__opts__ = self.options()
        return module

    def start_salt(self):
        self.publish, self.returns = self.port(), self.port()
        for role in ("master", "minion"):
            directory = self.root / role
            directory.mkdir()
            lines = {
                **self.options(),
                "user": os.environ.get("USER", "root"),
                "log_level_logfile": "quiet",
                "sock_dir": str(self.directory()),
                **{name: str(directory / name) for name in ("pki_dir", "cachedir", "extension_modules", "pidfile",
                   "log_file", "key_logfile", "sqlite_queue_dir", "token_dir", "syndic_dir")},
                "publish_port": self.publish,
            }
            if role == "master":
                lines |= {"interface": "127.0.0.1", "ret_port": self.returns, "auto_accept": True,
                          "worker_threads": 3, "master_job_cache": "sqlite3"}
            else:
                lines |= {"id": "minion", "master": "127.0.0.1", "master_port": self.returns}
            (directory / role).write_text(json.dumps(lines))
            self.run(f"salt-{role}", *self.salt(f"salt-{role}", role))
        minion = Command(self, "salt", "master", "minion")
        wait("the minion", lambda: minion.run("test.ping").data is True)

    def salt(self, program, role):
        return str(pathlib.Path(sys.executable).with_name(program)), "-c", str(self.root / role)


def wait(what, check):
    deadline = time.monotonic() + 180
    while not check():
        assert time.monotonic() < deadline, f"{what} is not there"
        time.sleep(0.1)


class Command:
    """One of Salt's programs, as pytest-salt-factories has it."""

    def __init__(self, world, program, role, target=None):
        self.world = world
        self.program = program
        self.role = role
        self.target = target

    def run(self, *arguments, minion_tgt=None, **named):  # pylint: disable=unused-argument
        target = [self.target] if self.target else []
        command = [*self.world.salt(self.program, self.role), "--out=json", "--no-color", *target, *arguments]
        command += [f"{name}={value}" for name, value in named.items()]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        try:
            data = json.loads(done.stdout)
        except ValueError:
            data = None
        if self.program in ("salt", "salt-call") and isinstance(data, dict):
            data = data.get(self.target or "local")
        return types.SimpleNamespace(data=data, stdout=done.stdout, returncode=done.returncode)


WORLD = World()


def pytest_configure(config):
    """Before the tests are imported, which want modules in their places."""
    WORLD.start_host()
    stand_ins.of_sqlalchemy(WORLD.store)
    stand_ins.of_postgresql(WORLD.store)
    support = types.ModuleType("tests.support.mock")
    support.patch = unittest.mock.patch
    sys.modules.update({"tests": types.ModuleType("tests"), "tests.support": types.ModuleType("tests.support")})
    sys.modules["tests.support.mock"] = support
    for name in TAKEN:
        module = WORLD.module(name)
        sys.modules[module.__name__] = module
        setattr(salt.returners, name, module)
    stand_ins.of_cache(salt.returners.salt_cache)
    usual = salt.config.master_config
    salt.config.master_config = lambda *arguments, **named: {**usual(*arguments, **named), **WORLD.options()}
    for mark in ("slow_test", "windows_whitelisted", "skip_if_binaries_missing"):
        config.addinivalue_line("markers", mark)


def pytest_unconfigure():
    WORLD.end()


def pytest_collection_modifyitems(items):
    """Of the databases that a test names, the host's."""
    items[:] = [item for item in items if "[" not in item.name or "sqlite" in item.name]


@pytest.fixture(scope="module")
def database_backend():
    return types.SimpleNamespace(dialect="sqlite")


@pytest.fixture(scope="module")
def master_opts():
    return salt.config.master_config(os.devnull)


@pytest.fixture(scope="module")
def minion_opts():
    return {**salt.config.minion_config(os.devnull), **WORLD.options()}


@pytest.fixture(scope="session")
def salt_factories():
    return unittest.mock.MagicMock()


@pytest.fixture(autouse=True)
def loader_modules(request):
    """What a test gives to a module that Salt's loader would."""
    try:
        modules = request.getfixturevalue("configure_loader_modules")
    except pytest.FixtureLookupError:
        return
    for module, values in modules.items():
        for name, value in values.items():
            setattr(module, name, value)


@pytest.fixture(scope="session")
def salt_minion():
    WORLD.start_salt()
    return types.SimpleNamespace(id="minion")


@pytest.fixture
def salt_cli(salt_minion):
    return Command(WORLD, "salt", "master", salt_minion.id)


@pytest.fixture
def salt_run_cli(salt_minion):
    return Command(WORLD, "salt-run", "master")


@pytest.fixture
def salt_call_cli(salt_minion):
    return Command(WORLD, "salt-call", "minion")
