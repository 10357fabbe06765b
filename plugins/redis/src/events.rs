//! Writes events, which Salt's own returner for Redis does not.

use returner_sdk::{Event, Events, Outcome, json};

use crate::writes::{Writes, command};
use crate::{Redis, keys, ttl};

impl Events for Redis {
    fn store(batch: Vec<Event>) -> Outcome {
        let ttl = ttl()?;
        let newest = batch.iter().map(|item| item.accepted).max().unwrap_or_default();
        let mut writes = Writes::default();
        for (index, item) in batch.iter().enumerate() {
            let mut set = command(["SET", &keys::event(&item.key), &document(item)]);
            if let Some(ttl) = ttl {
                set.extend(command(["EX", &ttl.to_string()]));
            }
            writes.add(&[index], set)?;
            writes.add(&[index], command(["ZADD", keys::EVENTS, &item.accepted.to_string(), &item.key]))?;
        }
        if let Some(ttl) = ttl {
            // The names of events that have expired.
            let expired = newest.saturating_sub(ttl.saturating_mul(1000));
            writes.add(&[], command(["ZREMRANGEBYSCORE", keys::EVENTS, "-inf", &format!("({expired}")]))?;
        }
        writes.finish()
    }
}

fn document(item: &Event) -> String {
    let (tag, master) = (json::quote(&item.tag), json::quote(&item.master));
    format!("{{\"tag\":{tag},\"data\":{},\"master\":{master}}}", item.data)
}
