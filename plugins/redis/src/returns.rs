//! Writes returns. All returns of a job in a batch are fields of one command.
//!
//! A return can come late, after newer ones: a gap that is filled, a dead letter that is
//! replayed. So the name of a minion's last job is exchanged, and put back where it was a later
//! one. Nobody else writes it meanwhile: the returns of a minion have one worker.

use std::collections::BTreeMap;

use returner_sdk::{Failure, JobReturn, Outcome, jid};

use crate::writes::{Writes, command};
use crate::{keys, ttl};

/// The most bytes of one HSET, unless one return alone has more.
const MAX_BYTES: usize = 500_000;

pub(crate) fn store(batch: Vec<JobReturn>) -> Outcome {
    let ttl = ttl()?.map(|seconds| seconds.to_string());
    let mut writes = Writes::default();
    let mut last_jobs = BTreeMap::new();
    for item in by_job(batch) {
        let key = keys::returns(&item.jid);
        writes.add(&item.items, item.hset)?;
        if let Some(ttl) = &ttl {
            writes.add(&item.items, command(["EXPIRE", &key, ttl]))?;
        }
        for (index, key) in item.items.iter().zip(&item.last_jobs) {
            writes.exchange(*index, key, &item.jid)?;
            if let Some(ttl) = &ttl {
                writes.add(&[*index], command(["EXPIRE", key, ttl]))?;
            }
            last_jobs.insert(key.clone(), (*index, item.jid.clone()));
        }
        let mut sadd = command(["SADD", keys::MINIONS]);
        sadd.extend(item.minions);
        writes.add(&item.items, sadd)?;
    }
    put_back(&mut writes, &last_jobs, ttl.as_deref())?;
    writes.finish()
}

/// The later jobs whose names were exchanged for those of earlier ones.
fn put_back(
    writes: &mut Writes,
    written: &BTreeMap<String, (usize, String)>,
    ttl: Option<&str>,
) -> Result<(), Failure> {
    let mut before: BTreeMap<String, String> = BTreeMap::new();
    for (key, job) in writes.exchanged()? {
        let latest = before.entry(key).or_default();
        if jid::millis(&job) >= jid::millis(latest) {
            *latest = job;
        }
    }
    for (key, (index, job)) in written {
        let Some(latest) = before.get(key).filter(|latest| jid::millis(latest) > jid::millis(job)) else {
            continue;
        };
        let set = match ttl {
            Some(ttl) => command(["SET", key, latest, "EX", ttl]),
            None => command(["SET", key, latest]),
        };
        writes.add(&[*index], set)?;
    }
    Ok(())
}

/// What some returns of one job need.
#[derive(Debug)]
struct Job {
    jid: String,
    /// The places of the returns in the batch.
    items: Vec<usize>,
    /// `HSET ret:<jid>` with each return.
    hset: Vec<Vec<u8>>,
    bytes: usize,
    last_jobs: Vec<String>,
    minions: Vec<Vec<u8>>,
}

impl Job {
    fn new(jid: String) -> Self {
        let hset = command(["HSET", &keys::returns(&jid)]);
        Self { jid, items: Vec::new(), hset, bytes: 0, last_jobs: Vec::new(), minions: Vec::new() }
    }

    fn add(&mut self, index: usize, item: JobReturn) {
        self.items.push(index);
        self.bytes += item.full.len();
        self.hset.push(keys::field(&item.minion, &item.full).into_owned().into_bytes());
        self.hset.push(item.full.into_bytes());
        self.last_jobs.push(keys::last_job(&item.minion, &item.fun));
        self.minions.push(item.minion.into_bytes());
    }
}

/// The batch by jobs, each in the order of its returns: of two for one field the
/// later one wins.
fn by_job(batch: Vec<JobReturn>) -> Vec<Job> {
    let mut jobs: Vec<Job> = Vec::new();
    let mut open: BTreeMap<String, usize> = BTreeMap::new();
    for (index, mut item) in batch.into_iter().enumerate() {
        let jid = std::mem::take(&mut item.jid);
        let place = match open.get(&jid) {
            Some(&place) if jobs[place].bytes < MAX_BYTES => place,
            _ => {
                jobs.push(Job::new(jid.clone()));
                open.insert(jid, jobs.len() - 1);
                jobs.len() - 1
            }
        };
        jobs[place].add(index, item);
    }
    jobs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(jid: &str, minion: &str, bytes: usize) -> JobReturn {
        JobReturn {
            jid: jid.to_owned(),
            minion: minion.to_owned(),
            fun: "test.ping".to_owned(),
            success: true,
            retcode: 0,
            value: "true".to_owned(),
            full: "x".repeat(bytes),
            key: String::new(),
            accepted: 0,
            redelivered: false,
        }
    }

    #[test]
    fn returns_of_a_job_are_written_together() {
        let jobs = by_job(vec![item("1", "a", 9), item("2", "a", 9), item("1", "b", 9)]);
        assert_eq!(jobs.iter().map(|job| job.items.clone()).collect::<Vec<_>>(), [vec![0, 2], vec![1]]);
        let parts: Vec<_> = jobs[0].hset.iter().map(|part| String::from_utf8_lossy(part)).collect();
        assert_eq!(parts, ["HSET", "ret:1", "a", "xxxxxxxxx", "b", "xxxxxxxxx"]);
        assert_eq!(jobs[0].last_jobs, ["a:test.ping", "b:test.ping"]);
    }

    #[test]
    fn no_command_grows_without_a_bound() {
        let jobs = by_job((0..4).map(|_| item("1", "a", MAX_BYTES / 2)).collect());
        assert_eq!(jobs.iter().map(|job| job.items.len()).collect::<Vec<_>>(), [2, 2]);
    }
}
