"""
What the modules beside this file share: a way to the host that stores what Salt returned
(https, http or a Unix socket), and a spool for what it does not take at once.

Written by ``returner salt install``; changes made here are lost when it is run again.
Python's standard library and Salt, nothing else.

What must stay true:

- What is stored waits for the network no longer than ``returner.timeout``; a job without an id
  of its own stores two things, its load and its return.
- What the host did not acknowledge is in the spool, on disk, before the call returns, and
  leaves it only after an acknowledgement. It goes out in the order in which it came in.
- Only a host's own words count, whatever listens at the URL: an acknowledgement is JSON with
  ``accepted``, and what is never taken is said by a problem (RFC 9457).
- Nothing that stands in the spool holds up what is behind it: what is damaged is put aside.
- What is sent twice is the host's to recognise: a job id is given here, once.

Options, in the configuration of the minion or master:

    returner.url          http://, https:// or unix:/path; without it the local socket, if
                          there is one, or else port 4510 of the master
    returner.token        what to show the host, or
    returner.token_file   a file with it
    returner.ca           a PEM file with the authority of the host's certificate
    returner.certificate  PEM files of a certificate to show, and of
    returner.key          its key
    returner.timeout      seconds that storing may delay a job (2)
    returner.read_timeout seconds that a question may take (30)
    returner.spool_bytes  the most that is kept while the host is away (64 MiB)
"""

import base64
import contextlib
import datetime
import errno
import http.client
import json
import logging
import math
import os
import re
import socket
import ssl
import stat
import threading
import time
import urllib.parse

import salt.exceptions
import salt.utils.jid

try:
    import fcntl
except ImportError:  # Windows: two processes may send the same, which the host recognises.
    fcntl = None

log = logging.getLogger(__name__)

SOCKET = "/run/returner/returner.sock"
PORT = 4510
# Seconds for which events are only kept after a host hung.
REST = 10
# The most bytes of the spool that go out in one request.
REQUEST = 4 << 20
# The host takes 128 levels.
MAX_DEPTH = 100
# What a host's errors are.
PROBLEM = "application/problem+json"
# What an error on opening says of this process, and not of the file.
OWN_TROUBLE = (errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOMEM)
DAMAGED = "the file of the spool is damaged"
LOST = "A return is lost; hint: see why the host does not answer, `NAME.flush` says it"


class Refused(Exception):
    """The host will never take this. ``items`` has the places of those that it names."""

    items = ()


class TooLarge(OSError):
    """Somebody on the way to the host takes no request of this size."""


class Unanswered(salt.exceptions.CommandExecutionError, salt.exceptions.NotImplemented):
    """
    A question without an answer, and why. Of the first Salt shows the text alone where a minion or
    ``salt-call`` asked, and of the second where a runner did; of others a traceback.
    """


class Unknown(Exception):
    """The host has nothing of that name."""


class Returner:
    """One returner of the host's, under the options of this minion or master."""

    def __init__(self, name, opts):
        self.name = name
        self.opts = opts
        directory = os.path.join(opts["cachedir"], "returner", name)
        self.spool = Spool(directory, self._number("spool_bytes", 64 << 20), self._query())

    # What Salt calls to store.

    def returner(self, ret):
        if ret.get("jid") == "req":
            # A job that the minion gave itself: a state at its start, for example.
            ret = dict(ret, jid=self.prep_jid(nocache=ret.get("nocache", False)))
            self.save_load(ret["jid"], ret)
        if self.opts.get("job_cache_store_endtime"):
            # Salt asks for the end of a job (`get_endtime`), which no store has a place for.
            ret = dict(ret, _endtime=salt.utils.jid.gen_jid(self.opts))
        self._store("/v1/returns", [ret])

    def prep_jid(self, nocache=False, passed_jid=None):
        return passed_jid or salt.utils.jid.gen_jid(self.opts)

    def save_load(self, jid, load, minions=None):
        load = dict(load, jid=jid)
        if minions:
            load["Minions"] = list(minions)
        self._store("/v1/loads", [load])

    def save_minions(self, jid, minions, syndic_id=None):
        if minions:
            jid = urllib.parse.quote(str(jid), safe="")
            self._store(f"/v1/jobs/{jid}/minions", [list(minions)])

    def event_return(self, events):
        if events:
            events = [dict(event, master=self.opts.get("id")) for event in events]
            self._store("/v1/events", events, hurried=True)

    def flush(self):
        """Sends what waits in the spool."""
        waiting = self.spool.count()
        error = self._drain(time.monotonic() + self._number("read_timeout", 30))
        left = self.spool.count()
        answer = {"sent": max(waiting - left, 0), "waiting": left, "refused": self.spool.refused()}
        if error:
            answer["error"] = error
        return answer

    # What Salt asks.

    def get_load(self, jid):
        """``salt`` asks right after it published: what waits in the spool needs no host."""
        load = self.spool.load(jid)
        if not load or "return" in load:  # As a return is saved, the host may have what was published.
            try:
                load = self._ask("load", "/v1/jobs/{}", jid) or load
            except Unanswered:
                if not load:
                    raise
        if isinstance(load.get("Minions"), list):  # As `local_cache` answers.
            load["Minions"].sort()
        return load

    def get_jid(self, jid):
        found = self._ask("returns", "/v1/jobs/{}/returns", jid) or []
        return {entry["minion"]: entry["full"] for entry in found}

    def get_fun(self, fun):
        found = self._ask("returns", "/v1/functions/{}/returns", fun) or []
        return {entry["minion"]: entry["full"] for entry in found}

    def get_endtime(self, jid):
        """When the last return of a job was stored that has the moment with it; or else ``False``."""
        ends = [full["_endtime"] for full in self.get_jid(jid).values() if "_endtime" in full]
        return salt.utils.jid.jid_to_time(max(ends)) if ends else False

    def get_jids(self):
        jobs = self._ask("jobs", "/v1/jobs")
        return {job["jid"]: salt.utils.jid.format_jid_instance(job["jid"], job["load"]) for job in jobs}

    def get_jids_filter(self, count, filter_find_job=True):
        """The newest jobs, newest last; ``saltutil.find_job`` is what ``salt`` itself asks."""
        wanted = int(count)
        asked = wanted
        while True:
            jobs = self._ask("jobs", "/v1/jobs", limit=asked)
            kept = [job for job in jobs if not filter_find_job or job["load"].get("fun") != "saltutil.find_job"]
            if len(kept) >= wanted or len(jobs) < asked:
                break
            asked *= 2
        kept = kept[-wanted:] if wanted else []
        answer = []
        for job in kept:
            instance = salt.utils.jid.format_jid_instance_ext(job["jid"], job["load"])
            instance["Minions"] = job["load"].get("Minions", [])
            answer.append(instance)
        return answer

    def get_minions(self):
        return self._ask("minions", "/v1/minions")

    def clean_old_jobs(self):
        seconds = math.ceil(float(self.opts.get("keep_jobs_seconds", 86400)))
        if seconds:  # 0 is: for ever.
            self._ask("deleted", "/v1/jobs", method="DELETE", older_than=f"{seconds}s")

    # How.

    def _option(self, name, default=None):
        value = self.opts.get("returner." + name)
        if value is None and isinstance(self.opts.get("returner"), dict):
            value = self.opts["returner"].get(name)
        return default if value is None else value

    def _number(self, name, default):
        return float(self._option(name, default))

    def _query(self):
        return f"?returner={urllib.parse.quote(self.name, safe='')}"

    def _store(self, path, items, hurried=False):
        """
        ``hurried``: whoever calls has many more of these, and falls behind if each waits for a
        host that hangs.
        """
        path += self._query()
        body = b"".join(encode(item) + b"\n" for item in items)
        deadline = time.monotonic() + self._number("timeout", 2)
        if hurried and self.spool.rests():
            self._keep(path, body)
            return
        error, kept = None, False
        if not self.spool.is_empty():
            kept = self._keeps(path, body) is None
            error = self._drain(deadline)
        # What found no room is sent itself, now that all before it is.
        if not kept and not error:
            try:
                self._send_lines(path, body, deadline)
                return
            except (OSError, http.client.HTTPException) as failed:
                self._note(failed)
                error = said_by(failed)
        if error and (kept or self._keep(path, body)):
            log.warning(
                "returner %s: the host does not take it (%s): kept in %s, and sent with the next return",
                self.name,
                error,
                self.spool.directory,
            )

    def _keep(self, path, body):
        """Whether it is in the spool. Not an exception: ``salt-call`` would not show it."""
        error = self._keeps(path, body)
        if error:
            log.error("returner %s: %s %s", self.name, error, LOST.replace("NAME", self.name))
        return error is None

    def _keeps(self, path, body):
        """Why it is not in the spool, if it is not."""
        try:
            self.spool.add(path, body)
        except OSError as error:
            return error
        return None

    def _put_aside(self, path, body, refused):
        try:
            self.spool.put_aside(path, body, str(refused))
            log.error("returner %s: the host will never take this, it is kept aside: %s", self.name, refused)
        except OSError as error:
            log.error(
                "returner %s: the host will never take this (%s), and it cannot be kept aside (%s) A return is lost",
                self.name,
                refused,
                error,
            )

    def _drain(self, deadline):
        """Sends what is in the spool until it is empty or there is an error, which it gives."""
        try:
            with self.spool.turn(deadline) as mine:
                while mine:
                    entries = self.spool.first(REQUEST)
                    if not entries:
                        break
                    self._send_entries(entries, deadline)
        except (OSError, http.client.HTTPException) as error:
            self._note(error)
            return said_by(error)
        return None

    def _note(self, error):
        if isinstance(error, (TimeoutError, socket.timeout)):
            self.spool.rest()

    def _send_entries(self, entries, deadline):
        first = entries[0]
        if first.damage:
            self._put_aside_damaged(first)
        elif len(entries) == 1:
            self._send_lines(first.path, first.body, deadline)
        else:
            try:
                self._send("POST", first.path, b"".join(entry.body for entry in entries), deadline)
            except (Refused, TooLarge):  # One of them, and only that one is to wait aside.
                for entry in entries:
                    self._send_entries([entry], deadline)
                return
        self.spool.remove(entries)

    def _put_aside_damaged(self, entry):
        if entry.body is not None:
            self._put_aside("", entry.body, entry.damage)
            return
        self.spool.move_aside(entry)
        log.error("returner %s: %s: %s is put aside", self.name, entry.damage, entry.file)

    def _send_lines(self, path, body, deadline):
        """Sends what the host takes; what it never will is put aside, and nothing else for it."""
        lines = [line + b"\n" for line in body.split(b"\n") if line.strip()]
        while lines:
            try:
                self._send("POST", path, b"".join(lines), deadline)
                return
            except TooLarge:
                if len(lines) == 1:
                    raise
                lines = self._send_half(path, lines, deadline)
            except Refused as refused:
                bad = set(refused.items).intersection(range(len(lines)))
                if len(lines) == 1:
                    bad = {0}
                elif not bad:
                    lines = self._send_half(path, lines, deadline)
                    continue
                for place in sorted(bad):
                    self._put_aside(path, lines[place], refused)
                lines = [line for place, line in enumerate(lines) if place not in bad]

    def _send_half(self, path, lines, deadline):
        """Sends the first half of some lines, and gives the rest."""
        half = len(lines) // 2
        self._send_lines(path, b"".join(lines[:half]), deadline)
        return lines[half:]

    def _ask(self, member, path, *names, method="GET", **query):
        """What the host's answer has as this member; ``None`` where it has no such thing."""
        path = path.format(*(urllib.parse.quote(str(name), safe="") for name in names))
        query = urllib.parse.urlencode({"returner": self.name, **query})
        deadline = time.monotonic() + self._number("read_timeout", 30)
        try:
            return self._send(method, f"{path}?{query}", None, deadline, member)
        except Unknown:
            return None
        except (Refused, OSError, http.client.HTTPException) as failed:
            raise Unanswered(f"the returner {self.name} cannot be asked: {said_by(failed)}") from failed

    def _send(self, method, path, body, deadline, member="accepted"):
        """
        One request, and this member of the host's answer. In a thread, because looking a name up
        cannot be given a bound.
        """
        seconds = deadline - time.monotonic()
        if seconds <= 0:
            raise TimeoutError("there was no time left")
        done = []

        def exchange():
            try:
                done.append(self._exchange(method, path, body, seconds))
            except Exception as error:  # pylint: disable=broad-except
                done.append(error)

        thread = threading.Thread(target=exchange, daemon=True)
        thread.start()
        thread.join(seconds)
        if not done:
            raise TimeoutError(f"no answer within {seconds:.1f} s")
        answer = done[0]
        if is_no_way(answer):
            raise ConnectionError(f"no host answers at {self._url()}: {answer}") from answer
        if isinstance(answer, http.client.HTTPException):
            raise OSError(f"{self._url()} does not answer as HTTP; if it has TLS, write https://") from answer
        if isinstance(answer, OSError):
            raise answer
        if isinstance(answer, Exception):  # An option that is none, for example: nothing was sent.
            raise OSError(f"the host cannot be asked: {said_by(answer)}") from answer
        return self._judge(answer, method, member)

    def _judge(self, answer, method, member):
        """A member of an answer that is a host's; or else an error."""
        if answer.status in (200, 202) and member in answer.content:
            return answer.content[member]
        if not answer.is_problem:
            error = TooLarge if answer.status == 413 else OSError
            said = answer.text[:200].decode("utf-8", "replace")
            raise error(f"{self._url()} answers {answer.status} in other words than a returner host: {said}")
        problem = f"{answer.status} {answer.problem()}"
        if answer.status in (400, 413):
            refused = Refused(problem)
            refused.items = answer.places()
            raise refused
        # A job that is not there; but a returner that is not there may come back.
        if answer.status == 404 and method == "GET" and "known" not in answer.content:
            raise Unknown(problem)
        raise OSError(problem)

    def _exchange(self, method, path, body, seconds):
        headers = {"Content-Type": "application/x-ndjson"} if body is not None else {}
        token = self._option("token")
        if not token and self._option("token_file"):
            with open(self._option("token_file"), encoding="utf-8") as file:
                token = file.read().strip()
        if token:
            # Python's own error would show it.
            if not (str(token).isascii() and str(token).isprintable()):
                raise OSError("`returner.token` has characters that no token has")
            headers["Authorization"] = f"Bearer {token}"
        with contextlib.closing(self._connection(seconds)) as connection:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return Answer(response.status, response.getheader("Content-Type"), response.read())

    def _connection(self, seconds):
        url = self._url()
        scheme, _, rest = url.partition(":")
        if scheme == "unix":
            return UnixConnection("/" + rest.lstrip("/"), timeout=seconds)
        parts = urllib.parse.urlsplit(url)
        if parts.scheme == "http" and parts.hostname:
            return http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=seconds)
        if parts.scheme == "https" and parts.hostname:
            try:
                context = ssl.create_default_context(cafile=self._option("ca"))
                if self._option("certificate"):
                    context.load_cert_chain(self._option("certificate"), self._option("key"))
            except OSError as error:
                names = "returner.ca, returner.certificate and returner.key"
                raise OSError(f"{names} cannot be used, they must be PEM files: {error}") from error
            return http.client.HTTPSConnection(parts.hostname, parts.port or 443, timeout=seconds, context=context)
        raise OSError(f"returner.url: `{url}` is no http://, https:// or unix: URL")

    def _url(self):
        return self._option("url") or self._usual()

    def _usual(self):
        if os.path.exists(SOCKET):
            return "unix:" + SOCKET
        master = self.opts.get("master") if self.opts.get("__role") != "master" else None
        if isinstance(master, (list, tuple)):
            master = master[0] if master else None
        master = master or "127.0.0.1"
        if master.count(":") == 1:  # With the port of Salt's own.
            master = master.split(":")[0]
        return f"http://[{master}]:{PORT}" if ":" in master else f"http://{master}:{PORT}"


class Answer:
    """What somebody answered who may be no host: nothing of its form can be relied on."""

    def __init__(self, status, kind, text):
        self.status = status
        self.text = text
        self.content = object_of(text)
        kind = (kind or "").partition(";")[0].strip().lower()
        self.is_problem = kind == PROBLEM and isinstance(self.content.get("detail"), str)

    def problem(self):
        """What the host says is wrong, in one line."""
        reasons = [item["reason"] for item in self._items() if isinstance(item.get("reason"), str)]
        return "; ".join([self.content["detail"], *reasons])

    def places(self):
        """The places of the items that the host says are wrong."""
        return [item["index"] for item in self._items() if isinstance(item.get("index"), int)]

    def _items(self):
        items = self.content.get("items")
        return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Entry:
    """
    One file of the spool. ``damage`` says why it is no request: its body is all that stands in
    it then, or ``None`` where that cannot be read.
    """

    def __init__(self, file, path, body, damage=None):
        self.file = file
        self.path = path
        self.body = body
        self.damage = damage


class Spool:
    """
    A directory of requests that wait, numbered in the order in which they came in. The first
    line of a file is the path of the request, which ends in ``query``, the rest its body.
    ``refused/`` has what the host will never take, each with the reason in its first line; and
    as it was what is damaged so that it cannot be read.
    """

    def __init__(self, directory, bound, query):
        self.directory = directory
        self.bound = bound
        # What is none of these was not written here: it would be asked for for ever.
        kinds = r"/v1/(?:returns|loads|events|jobs/[A-Za-z0-9_.~%-]+/minions)"
        self.paths = re.compile((kinds + re.escape(query)).encode())

    def count(self):
        return len(self._files(self.directory))

    def is_empty(self):
        try:
            with os.scandir(self.directory) as entries:
                return not any(is_number(entry.name) for entry in entries)
        except OSError:  # None that can be listed holds up what comes.
            return True

    def refused(self):
        return len(self._files(os.path.join(self.directory, "refused")))

    def rest(self):
        """Notes that the host hangs."""
        with contextlib.suppress(OSError):
            os.makedirs(self.directory, mode=0o700, exist_ok=True)
            with open(os.path.join(self.directory, "rest"), "wb"):
                pass

    def rests(self):
        """Whether the host hung a moment ago."""
        try:
            return 0 <= time.time() - os.path.getmtime(os.path.join(self.directory, "rest")) < REST
        except OSError:
            return False

    def add(self, path, body):
        self._write(self.directory, path.encode() + b"\n" + body)

    def put_aside(self, path, body, reason):
        line = json.dumps({"path": path, "reason": reason}).encode()
        self._write(os.path.join(self.directory, "refused"), line + b"\n" + body)

    def move_aside(self, entry):
        directory = os.path.join(self.directory, "refused")
        with self._index(directory) as index:
            self._free(index, directory)
            os.rename(entry.file, os.path.join(directory, f"{index.next:012}"))
            index.next += 1

    def first(self, size):
        """The oldest entries that go to the same path, of about this size together."""
        entries = []
        for file in self._files(self.directory):
            try:
                entry = self._entry(file)
            except FileNotFoundError:  # Another process had its turn.
                continue
            size -= len(entry.body or b"")
            if entries and (size < 0 or entry.damage or entry.path != entries[0].path):
                break
            entries.append(entry)
            if entry.damage or "/minions?" in entry.path:  # One array a request.
                break
        return entries

    def _entry(self, file):
        try:
            with opened(file) as content:
                text = content.read()
        except OSError as error:
            if isinstance(error, FileNotFoundError) or error.errno in OWN_TROUBLE:
                raise
            return Entry(file, "", None, f"{DAMAGED} ({error})")
        path, _, body = text.partition(b"\n")
        if self.paths.fullmatch(path) and body.strip():
            return Entry(file, path.decode(), body)
        return Entry(file, "", text, DAMAGED)

    def load(self, jid):
        """
        The first load of a job that waits, or ``{}``. From the newest: ``salt`` asks for what it
        has just published, and only returns are saved as loads again after that.
        """
        found = {}
        for file in reversed(self._files(self.directory)):
            with contextlib.suppress(OSError), opened(file) as content:
                if content.readline().startswith(b"/v1/loads?"):
                    load = object_of(content.readline())
                    if load.get("jid") == jid:
                        found = load
                        if "return" not in load:
                            break
        return found

    def remove(self, entries):
        with self._index(self.directory) as index:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    index.size -= os.path.getsize(entry.file)
                    os.unlink(entry.file)

    @contextlib.contextmanager
    def turn(self, deadline):
        """One process sends at a time. Those that wait look again, so nothing stays behind."""
        os.makedirs(self.directory, mode=0o700, exist_ok=True)
        with open(os.path.join(self.directory, "lock"), "ab") as lock:
            while fcntl:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except OSError:
                    if time.monotonic() > deadline or self.is_empty():
                        yield False
                        return
                    time.sleep(0.02)
            yield True

    def _write(self, directory, content):
        with self._index(directory) as index:
            if index.size + len(content) > self.bound:
                index.count()
            if index.size + len(content) > self.bound:
                raise OSError(f"{directory} is full ({index.size} bytes, `returner.spool_bytes` is {self.bound:.0f}).")
            self._free(index, directory)
            written = os.path.join(directory, "new")
            with open(os.open(written, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(written, os.path.join(directory, f"{index.next:012}"))
            index.next += 1
            index.size += len(content)
        if hasattr(os, "O_DIRECTORY"):
            opened = os.open(directory, os.O_DIRECTORY)
            try:
                os.fsync(opened)
            finally:
                os.close(opened)

    @staticmethod
    def _free(index, directory):
        """The next number is that of no file, after a crash either."""
        if os.path.lexists(os.path.join(directory, f"{index.next:012}")):
            index.count()

    @contextlib.contextmanager
    def _index(self, directory):
        """The next number and the bytes that are kept, for one process at a time."""
        os.makedirs(directory, mode=0o700, exist_ok=True)
        with open(os.path.join(directory, "index"), "a+", encoding="ascii", errors="replace") as file:
            if fcntl:
                fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            index = Index(self._files, directory, file.read())
            yield index
            file.truncate(0)
            file.write(f"{index.next} {index.size}")

    @staticmethod
    def _files(directory):
        try:
            names = sorted(name for name in os.listdir(directory) if is_number(name))
        except FileNotFoundError:
            return []
        return [os.path.join(directory, name) for name in names]


class Index:
    """What a directory of the spool holds, so that it is not listed for each file."""

    def __init__(self, files, directory, text):
        self.files = files
        self.directory = directory
        try:
            self.next, self.size = (int(word) for word in text.split())
            if self.next < 1 or self.size < 0:
                raise ValueError
        except ValueError:
            self.count()

    def count(self):
        files = self.files(self.directory)
        self.next = int(os.path.basename(files[-1])) + 1 if files else 1
        self.size = 0
        for file in files:
            with contextlib.suppress(FileNotFoundError):
                self.size += os.path.getsize(file)


def is_no_way(error):
    """Whether it says that nobody was reached; one that names a file is about that file."""
    if isinstance(error, ConnectionError):
        return True
    has_number = isinstance(error, OSError) and error.errno is not None and error.filename is None
    return has_number and not isinstance(error, TimeoutError)


def said_by(error):
    """In one line, which steers no terminal: some of it is what the other side sent."""
    said = " ".join(str(error).split()) or type(error).__name__
    return "".join(char if char.isprintable() else "?" for char in said)


def object_of(text):
    """The object that is written there as JSON, or ``{}``."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def is_number(name):
    return name.isascii() and name.isdigit()


def opened(file):
    """To read it. A pipe would keep the reader waiting; what is no file was not put there."""
    if not stat.S_ISREG(os.lstat(file).st_mode):
        raise OSError(errno.EINVAL, "it is no file", file)
    return open(file, "rb")


def encode(value):
    """
    JSON of whatever Python holds. What JSON has no form for has this one, in which it comes by
    the master's event bus, too:

    bytes       the text, if they are UTF-8; or else {"__bytes__": "base64"}
    set, tuple  an array; that of a set has Python's order
    date, time  as ISO 8601 has it; a date is its midnight, 2026-02-14T00:00:00
    NaN, inf    "NaN", "Infinity", "-Infinity"
    numbers     that 64 bits do not hold: as text
    text with halves of characters, as names of files can be: "\\udcff"
    keys        text; True is "true", None is "null"
    others      str(value)
    """
    return json.dumps(plain(value), ensure_ascii=False, separators=(",", ":")).encode()


def plain(value, depth=0):
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value).encode("utf-8", "backslashreplace").decode()
    if isinstance(value, int):
        if -(2**63) <= value < 2**64:
            return int(value)
        return str(value) if value.bit_length() < 10_000 else hex(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else json.dumps(float(value))
    if isinstance(value, (bytes, bytearray, memoryview)):
        try:
            return bytes(value).decode()
        except UnicodeDecodeError:
            return {"__bytes__": base64.b64encode(bytes(value)).decode()}
    if isinstance(value, (datetime.datetime, datetime.time)):
        return value.isoformat()
    if isinstance(value, datetime.date):
        return f"{value.isoformat()}T00:00:00"
    if depth > MAX_DEPTH:
        return str(value)
    if hasattr(value, "items"):
        return {key_of(key): plain(inner, depth + 1) for key, inner in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)) or hasattr(value, "__next__"):
        return [plain(inner, depth + 1) for inner in value]
    return plain(str(value))


def key_of(key):
    key = plain(key, MAX_DEPTH)
    return key if isinstance(key, str) else json.dumps(key)
