"""{{name}}: a row for each return in the table `{{snake}}`."""

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.about import Description
from wit_world.imports import config, sql
from wit_world.imports.types import Failure_Reject, Failure_Retry, JobReturn, Refusal, Retry

ROWS = 500  # of one statement: databases limit its parameters


class About(exports.About):
    # The options that it knows; the host refuses a configuration with another one.
    def describe(self) -> Description:
        return Description(name="{{name}}", version="0.1.0", options=["severity"])


class Lifecycle(exports.Lifecycle):
    # Runs before anything is stored, and again after each reload and while storing fails.
    def setup(self) -> None:
        execute(
            "CREATE TABLE IF NOT EXISTS {{snake}} (item_key varchar(32) PRIMARY KEY, jid varchar(255),"
            " minion varchar(255), fun varchar(255), severity varchar(32))",
            [],
        )


class Returns(exports.Returns):
    # All statements of one call are one transaction: a return commits it, an Err undoes it.
    def store(self, batch: list[JobReturn]) -> list[Refusal]:
        # Of these an earlier delivery may have been stored; `key` is the same each time.
        again: list[sql.Value] = [sql.Value_Text(item.key) for item in batch if item.redelivered]
        for start in range(0, len(again), ROWS):
            keys = again[start : start + ROWS]
            execute(f"DELETE FROM {{snake}} WHERE item_key IN ({', '.join('?' * len(keys))})", keys)
        usual = config.get("severity") or "info"
        for start in range(0, len(batch), ROWS):
            items = batch[start : start + ROWS]
            rows = ", ".join(["(?, ?, ?, ?, ?)"] * len(items))
            values = [value for item in items for value in row(item, usual)]
            execute(f"INSERT INTO {{snake}} (item_key, jid, minion, fun, severity) VALUES {rows}", values)
        return []  # all of it is stored; a Refusal for each item that is not


def row(item: JobReturn, usual: str) -> list[sql.Value]:
    severity = usual if item.success else "error"
    return [sql.Value_Text(text) for text in (item.key, item.jid, item.minion, item.fun, severity)]


# `db` is what the configuration calls the database, in `{{name}}.connections`.
def execute(statement: str, values: list[sql.Value]) -> None:
    try:
        sql.execute("db", statement, values)
    except Err as error:
        # The host tries a Retry again later, and sets a Reject aside as what will never be stored.
        if error.value.retryable:
            raise Err(Failure_Retry(Retry(error.value.message, after=None)))
        raise Err(Failure_Reject(error.value.message))
