"""{{name}}: keeps a document for each return in the collection `{{snake}}`."""

import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.about import Description
from wit_world.imports import mongo
from wit_world.imports.types import Failure_Reject, Failure_Retry, JobReturn, Refusal, Retry


class About(exports.About):
    def describe(self) -> Description:
        return Description(name="{{name}}", version="0.1.0", options=[])


class Lifecycle(exports.Lifecycle):
    def setup(self) -> None:
        pass  # MongoDB creates the collection itself


class Returns(exports.Returns):
    # `key` is the same however often a return is delivered, so that the second time changes nothing.
    def store(self, batch: list[JobReturn]) -> list[Refusal]:
        if not batch:
            return []
        try:
            errors = mongo.update_many("db", "{{snake}}", [update(item) for item in batch])
        except Err as error:
            # The host tries a Retry again later, and sets a Reject aside as what will never be stored.
            if error.value.retryable:
                raise Err(Failure_Retry(Retry(error.value.message, after=None)))
            raise Err(Failure_Reject(error.value.message))
        # What the server refuses of single documents; all others are stored.
        return [Refusal(error.index, Failure_Reject(f"{error.message} ({error.code})")) for error in errors]


def update(item: JobReturn) -> mongo.Update:
    values = {"jid": item.jid, "minion": item.minion, "fun": item.fun, "success": item.success}
    return mongo.Update(json.dumps({"_id": item.key}), json.dumps({"$set": values}), upsert=True)
