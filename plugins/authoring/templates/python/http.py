"""{{name}}: posts each batch of returns to a web hook, as a JSON array."""

import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.about import Description
from wit_world.imports import config, http
from wit_world.imports.types import Failure_Reject, Failure_Retry, JobReturn, Refusal, Retry


class About(exports.About):
    # The options that it knows; the host refuses a configuration with another one.
    def describe(self) -> Description:
        return Description(name="{{name}}", version="0.1.0", options=["url"])


class Lifecycle(exports.Lifecycle):
    # Runs before anything is stored, and again after each reload and while storing fails.
    def setup(self) -> None:
        url()


class Returns(exports.Returns):
    # It returns only after the hook has said yes. What is tried again comes in the same call, or in parts of it.
    def store(self, batch: list[JobReturn]) -> list[Refusal]:
        if not batch:
            return []
        items = [
            {"key": item.key, "jid": item.jid, "minion": item.minion, "fun": item.fun, "success": item.success}
            for item in batch
        ]
        headers = [("Content-Type", "application/json"), ("Idempotency-Key", idempotency_key(batch))]
        try:
            answer = http.send(http.Request("POST", url(), headers, json.dumps(items).encode()))
        except Err as error:
            # The host tries a Retry again later, and sets a Reject aside as what will never be stored.
            if error.value.retryable:
                raise Err(Failure_Retry(Retry(error.value.message, after=None)))
            raise Err(Failure_Reject(error.value.message))
        message = f"the web hook answered {answer.status}"
        if 200 <= answer.status < 300:
            return []  # all of it is stored; a Refusal for each item that is not
        if answer.status in (400, 413, 422):
            raise Err(Failure_Reject(message))  # the items are to blame
        # A hook that is busy, and an address or a token that is wrong, can be mended.
        raise Err(Failure_Retry(Retry(message, retry_after(answer.headers))))


def url() -> str:
    value = config.get("url")
    if value is None:
        missing = "the option `url` is missing: add `{{name}}.options: {url: \"https://...\"}` to the configuration"
        raise Err(Failure_Reject(missing))
    return value


def idempotency_key(batch: list[JobReturn]) -> str:
    """The same for the same returns: their keys, each 128 bits, in one."""
    together = 0
    for item in batch:
        together ^= int(item.key, 16)
    return f"{together:032x}"


def retry_after(headers: list[tuple[str, str]]) -> int | None:
    """`Retry-After` in milliseconds, where it says seconds and not a date."""
    for name, value in headers:
        if name.lower() == "retry-after" and value.isdecimal():
            return min(int(value) * 1000, 2**32 - 1)
    return None
