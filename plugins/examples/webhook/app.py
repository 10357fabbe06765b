"""webhook: tells a channel of Slack's or Mattermost's what ran, in messages of at most fifty returns.

Options: `url`, the channel's web hook, and `only: failures`, which leaves out what went well.
"""

import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.about import Description
from wit_world.imports import config, http
from wit_world.imports.types import Failure, Failure_Reject, Failure_Retry, JobReturn, Refusal, Retry

LINES = 50  # of one message, which people read
SHOWN = 200  # characters of a value


class About(exports.About):
    def describe(self) -> Description:
        return Description(name="webhook", version="0.1.0", options=["url", "only"])


class Lifecycle(exports.Lifecycle):
    def setup(self) -> None:
        if config.get("url") is None:
            raise Err(Failure_Reject('the option `url` is missing: `webhook.options: {url: "https://..."}`'))
        if config.get("only") not in (None, "failures"):
            raise Err(Failure_Reject("the option `only` is `failures`, or not there"))


class Returns(exports.Returns):
    def store(self, batch: list[JobReturn]) -> list[Refusal]:
        all_of_it = config.get("only") is None
        told = [(place, item) for place, item in enumerate(batch) if all_of_it or not item.success]
        for begin in range(0, len(told), LINES):
            failure = post([item for _, item in told[begin : begin + LINES]])
            if failure and begin == 0:
                raise Err(failure)
            if failure:  # what was posted before is posted
                return [Refusal(place, failure) for place, _ in told[begin:]]
        return []


def post(items: list[JobReturn]) -> Failure | None:
    headers = [("Content-Type", "application/json"), ("Idempotency-Key", idempotency_key(items))]
    body = json.dumps({"text": "\n".join(line(item) for item in items)})
    try:
        answer = http.send(http.Request("POST", config.get("url") or "", headers, body.encode()))
    except Err as error:
        said = error.value
        return Failure_Retry(Retry(said.message, after=None)) if said.retryable else Failure_Reject(said.message)
    if 200 <= answer.status < 300:
        return None
    message = f"the web hook answered {answer.status}: {answer.body[:SHOWN].decode(errors='replace')}"
    if answer.status in (400, 413, 422):
        return Failure_Reject(message)  # the items are to blame
    # A hook that is busy, and an address or a token that is wrong, can be mended.
    return Failure_Retry(Retry(message, retry_after(answer.headers)))


def line(item: JobReturn) -> str:
    mark = ":white_check_mark:" if item.success else ":x:"
    value = item.value if len(item.value) <= SHOWN else item.value[:SHOWN] + "…"
    return f"{mark} *{plain(item.minion)}* `{plain(item.fun)}` in job {plain(item.jid)}: {plain(value)}"


def plain(text: str) -> str:
    """Slack's three signs, so that a minion can neither link nor call everybody."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("`", "'")


def idempotency_key(items: list[JobReturn]) -> str:
    """The same for the same returns, so that a relay can tell a message that comes again."""
    together = 0
    for item in items:
        together ^= int(item.key, 16)
    return f"{together:032x}"


def retry_after(headers: list[tuple[str, str]]) -> int | None:
    """In milliseconds, where it says seconds and not a date."""
    for name, value in headers:
        if name.lower() == "retry-after" and value.isdecimal():
            return min(int(value) * 1000, 2**32 - 1)
    return None
