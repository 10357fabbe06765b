//! Stores in Redis, under the keys of Salt's own `redis` returner, and some more.
//!
//! | key | type | content |
//! |---|---|---|
//! | `ret:<jid>` | hash | a minion's whole return, by its id; of a resource of a minion (Salt 3008), by `<id>/<resource>` |
//! | `<id>:<fun>` | string | the latest job, by its id, in which the minion ran the function; the functions of a compound job are joined by commas |
//! | `minions` | set | every minion that ever answered |
//! | `load:<jid>` | string | a job's load, the first one |
//! | `minions:<jid>` | set | minions that became known after the load |
//! | `event:<key>` | string | an event: `tag`, `data` and `master` |
//! | `events` | sorted set | the keys of all events, by the milliseconds of their acceptance |
//!
//! A hash has one return a minion, as Salt's own: of several functions in one job it is the
//! last one's, and the others are answered for no more.
//!
//! Each is written by key, so that writing twice changes nothing. What belongs to a
//! job or an event expires after the option `ttl`, in seconds; without it, or with 0,
//! it is kept for ever.

mod events;
mod job_cache;
mod keys;
mod loads;
mod returns;
mod writes;

use returner_sdk::{Failure, JobReturn, Outcome, Returner, config};

/// What the configuration calls the granted connection.
const CONNECTION: &str = "db";

struct Redis;

returner_sdk::export!(Redis, "redis");

impl Returner for Redis {
    const OPTIONS: &'static [&'static str] = &["ttl"];

    fn setup() -> Result<(), Failure> {
        ttl().map(drop)
    }

    fn store(batch: Vec<JobReturn>) -> Outcome {
        returns::store(batch)
    }
}

/// For how many seconds things are kept; none is for ever.
fn ttl() -> Result<Option<u64>, Failure> {
    config::get("ttl").map_or(Ok(None), |text| seconds(&text))
}

fn seconds(text: &str) -> Result<Option<u64>, Failure> {
    match text.parse::<u64>() {
        Ok(0) => Ok(None),
        Ok(seconds) => Ok(Some(seconds)),
        Err(_) => Err(Failure::retry(format!("the option `ttl` is `{text}`, not a whole number of seconds"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_seconds_are_for_ever() {
        assert!(matches!(seconds("0"), Ok(None)));
        assert!(matches!(seconds("86400"), Ok(Some(86_400))));
        assert!(matches!(seconds("a day"), Err(Failure::Retry(_))));
    }
}
