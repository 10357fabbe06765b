"""{{name}}: counts runs and failures by minion in Redis. `PFCOUNT {{name}}:failures:web1` tells."""

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.about import Description
from wit_world.imports import redis
from wit_world.imports.types import Failure, Failure_Reject, Failure_Retry, JobReturn, Refusal, Retry


class About(exports.About):
    def describe(self) -> Description:
        return Description(name="{{name}}", version="0.1.0", options=[])


class Lifecycle(exports.Lifecycle):
    def setup(self) -> None:
        pass  # Redis needs nothing to be created


class Returns(exports.Returns):
    # PFADD counts a key once, so that a return that is delivered twice changes nothing.
    def store(self, batch: list[JobReturn]) -> list[Refusal]:
        commands: list[list[bytes]] = []
        places: list[int] = []  # whose return each command is for
        for place, item in enumerate(batch):
            for counter in ["runs"] if item.success else ["runs", "failures"]:
                commands.append([b"PFADD", f"{{name}}:{counter}:{item.minion}".encode(), item.key.encode()])
                places.append(place)
        if not commands:
            return []
        try:
            replies = redis.pipeline("db", commands)
        except Err as error:
            raise Err(failure(error.value))
        # One command's error is a reply. A return is refused once, whatever became of its other command.
        refusals: dict[int, Refusal] = {}
        for place, reply in zip(places, replies):
            if isinstance(reply, redis.Reply_Scalar) and isinstance(reply.value, redis.Scalar_Error):
                refusals.setdefault(place, Refusal(place, failure(reply.value.value)))
        return list(refusals.values())


def failure(error: redis.Error) -> Failure:
    # The host tries a Retry again later, and sets a Reject aside as what will never be stored.
    if error.retryable:
        return Failure_Retry(Retry(error.message, after=None))
    return Failure_Reject(error.message)
