"""smtp: a mail for each job that failed, with all of its failures that came together, by WASI's own sockets.

Options: `server`, such as `127.0.0.1:25`, which `allow_connect` must have as `tcp://127.0.0.1:25`; `from`; `to`, with
commas between several. There is no TLS in a guest: use a relay on this machine.
"""

import encodings.idna  # noqa: F401  what `socket` looks for when it connects
import hashlib
import smtplib
from email.charset import QP, Charset
from email.header import Header
from email.mime.text import MIMEText

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.about import Description
from wit_world.imports import config
from wit_world.imports.types import Failure, Failure_Reject, Failure_Retry, JobReturn, Refusal, Retry

OPTIONS = ["server", "from", "to"]
SHOWN = 2000  # characters of what one minion answered
SECONDS = 10
TEXT = Charset("utf-8")
TEXT.body_encoding = QP  # what can be read as it is stays so


class About(exports.About):
    def describe(self) -> Description:
        return Description(name="smtp", version="0.1.0", options=OPTIONS)


class Lifecycle(exports.Lifecycle):
    def setup(self) -> None:
        for name in OPTIONS:
            if not config.get(name):
                raise Err(Failure_Reject(f"the option `{name}` is missing: `smtp.options: {{{name}: ...}}`"))


class Returns(exports.Returns):
    def store(self, batch: list[JobReturn]) -> list[Refusal]:
        jobs: dict[str, list[int]] = {}
        for place, item in enumerate(batch):
            if not item.success:
                jobs.setdefault(item.jid, []).append(place)
        if not jobs:
            return []
        refusals: list[Refusal] = []
        host, _, port = (config.get("server") or "").rpartition(":")
        try:
            with smtplib.SMTP(host, int(port), local_hostname="salt.invalid", timeout=SECONDS) as server:
                for places in jobs.values():
                    failure = mail(server, [batch[place] for place in places])
                    if failure:
                        refusals += [Refusal(place, failure) for place in places]
        except (OSError, ValueError) as error:  # smtplib's own are OSErrors
            # Some may have gone out; they have the same Message-ID when they come again.
            raise Err(Failure_Retry(Retry(f"{type(error).__name__}: {error}", after=None)))
        return refusals


def mail(server: smtplib.SMTP, items: list[JobReturn]) -> Failure | None:
    # `EmailMessage` would take apart each header that it is given, which takes most of the time of a mail.
    message = MIMEText("\n\n".join(told(item) for item in items), _charset=TEXT)
    message["From"] = config.get("from")
    message["To"] = config.get("to")
    minions = ", ".join(sorted({item.minion for item in items})[:5]) + (", …" if len(items) > 5 else "")
    subject = " ".join(f"Salt: {items[0].fun} failed on {minions}".split())[:200]
    message["Subject"] = subject if subject.isascii() else Header(subject, "utf-8")
    keys = hashlib.sha256("".join(item.key for item in items).encode()).hexdigest()[:32]
    message["Message-ID"] = f"<{keys}@salt.invalid>"
    try:
        server.send_message(message)
    except smtplib.SMTPRecipientsRefused as error:
        return failure(max(code for code, _ in error.recipients.values()), str(error.recipients))
    except smtplib.SMTPResponseException as error:
        return failure(error.smtp_code, f"{error.smtp_code} {error.smtp_error!r}")
    return None


def failure(code: int, message: str) -> Failure:
    """Of SMTP's codes, those from 500 on are for good."""
    return Failure_Reject(message) if code >= 500 else Failure_Retry(Retry(message, after=None))


def told(item: JobReturn) -> str:
    value = item.value if len(item.value) <= SHOWN else item.value[:SHOWN] + "…"
    return f"job {item.jid}, minion {item.minion}, {item.fun}, retcode {item.retcode}:\n{value}"
