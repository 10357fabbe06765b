//! Writes loads, the first of a job, and minions that become known later.

use returner_sdk::{JobLoad, JobMinions, Loads, Outcome, json};

use crate::writes::{Writes, command};
use crate::{Redis, keys, ttl};

impl Loads for Redis {
    fn store(batch: Vec<JobLoad>) -> Outcome {
        let ttl = ttl()?.map(|seconds| seconds.to_string());
        let mut writes = Writes::default();
        for (index, item) in batch.into_iter().enumerate() {
            let load = json::with_minions(item.full, &item.minions);
            let mut set = command(["SET", &keys::load(&item.jid), &load, "NX"]);
            if let Some(ttl) = &ttl {
                set.extend(command(["EX", ttl]));
            }
            writes.add(&[index], set)?;
        }
        writes.finish()
    }

    fn add_minions(batch: Vec<JobMinions>) -> Outcome {
        let ttl = ttl()?.map(|seconds| seconds.to_string());
        let mut writes = Writes::default();
        for (index, item) in batch.into_iter().enumerate() {
            if item.minions.is_empty() {
                continue;
            }
            let key = keys::job_minions(&item.jid);
            let mut sadd = command(["SADD", &key]);
            sadd.extend(item.minions.into_iter().map(String::into_bytes));
            writes.add(&[index], sadd)?;
            if let Some(ttl) = &ttl {
                writes.add(&[index], command(["EXPIRE", &key, ttl]))?;
            }
        }
        writes.finish()
    }
}
