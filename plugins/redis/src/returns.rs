//! Writes returns. All returns of a job in a batch are fields of one command.
//!
//! A return can come late, after newer ones: a gap that is filled, a dead letter that is
//! replayed. So the name of a minion's last job is read, and written only where it is the earlier
//! one: at no moment an earlier one stands there, which a call that breaks off would leave. Nobody
//! else writes it meanwhile: the returns of a minion have one worker.

use std::collections::BTreeMap;

use returner_sdk::{JobReturn, Outcome, jid};

use crate::writes::{Writes, command};
use crate::{keys, ttl};

/// The most bytes of one HSET, unless one return alone has more.
const MAX_BYTES: usize = 500_000;

pub(crate) fn store(batch: Vec<JobReturn>) -> Outcome {
    let ttl = ttl()?.map(|seconds| seconds.to_string());
    let jobs = by_job(batch);
    let mut last_jobs = last_jobs(&jobs);
    let mut writes = Writes::default();
    for (key, last) in &last_jobs {
        writes.ask(&last.items, key)?;
    }
    let present: BTreeMap<_, _> = writes.answers()?.into_iter().collect();
    // The others are no texts, and stay what they are.
    last_jobs.retain(|key, _| present.contains_key(key));
    for job in jobs {
        writes.add(&job.items, job.hset)?;
        if let Some(ttl) = &ttl {
            writes.add(&job.items, command(["EXPIRE", &keys::returns(&job.jid), ttl]))?;
        }
        let mut sadd = command(["SADD", keys::MINIONS]);
        sadd.extend(job.minions);
        writes.add(&job.items, sadd)?;
    }
    for (key, LastJob { items, jid }) in &last_jobs {
        let present = present.get(key).and_then(Option::as_deref);
        if !present.is_some_and(|present| is_later(present, jid)) {
            writes.add(items, command(["SET", key, jid]))?;
        }
        if let Some(ttl) = &ttl {
            writes.add(items, command(["EXPIRE", key, ttl]))?;
        }
    }
    writes.finish()
}

/// The last job of a minion and a function in a batch.
#[derive(Debug)]
struct LastJob {
    /// The places of the returns that name one.
    items: Vec<usize>,
    jid: String,
}

/// By their keys. Of jobs of one time it is the later one in the batch.
fn last_jobs(jobs: &[Job]) -> BTreeMap<String, LastJob> {
    let mut last_jobs: BTreeMap<String, LastJob> = BTreeMap::new();
    for job in jobs {
        for (&item, key) in job.items.iter().zip(&job.last_jobs) {
            let last = last_jobs.entry(key.clone());
            let last = last.or_insert_with(|| LastJob { items: Vec::new(), jid: job.jid.clone() });
            last.items.push(item);
            if !is_later(&last.jid, &job.jid) {
                last.jid.clone_from(&job.jid);
            }
        }
    }
    last_jobs
}

/// Whether one job began after another; one whose id is no time began before all that are.
fn is_later(one: &str, other: &str) -> bool {
    jid::millis(one) > jid::millis(other)
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
    use std::collections::HashMap;

    use returner_sdk::redis::{Error, Reply, Scalar};
    use returner_sdk::testing::{self, Host};

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

    /// Some of Redis, whose connection can break after it has done what it was asked.
    #[derive(Default)]
    struct Server {
        values: HashMap<String, String>,
        breaks_after: Option<usize>,
    }

    impl Host for Server {
        fn option(&mut self, _: &str) -> Option<String> {
            None
        }

        fn redis_pipeline(&mut self, _: &str, commands: &[Vec<Vec<u8>>]) -> Result<Vec<Reply>, Error> {
            let replies = commands.iter().map(|command| Reply::Scalar(self.run(command))).collect();
            if self.breaks_after.take_if(|left| *left == 0).is_some() {
                return Err(Error { message: "the connection broke".to_owned(), retryable: true });
            }
            self.breaks_after = self.breaks_after.map(|left| left - 1);
            Ok(replies)
        }
    }

    impl Server {
        fn run(&mut self, command: &[Vec<u8>]) -> Scalar {
            let words: Vec<String> =
                command.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect();
            let bulk = |text: String| Scalar::Bulk(text.into_bytes());
            match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
                ["GET", key] => self.values.get(key).cloned().map_or(Scalar::Nil, bulk),
                ["SET", key, value] => {
                    self.values.insert(key.to_owned(), value.to_owned());
                    Scalar::Status("OK".to_owned())
                }
                ["HSET" | "SADD", ..] => Scalar::Integer(1),
                ref other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn the_last_job_stays_the_last_one_wherever_a_call_breaks_off() {
        let [old, new] = ["20260214110000000000", "20260214120000000000"];
        for breaks_after in 0..4 {
            let values = HashMap::from([("web1:test.ping".to_owned(), new.to_owned())]);
            let mut server = Server { values, breaks_after: Some(breaks_after) };
            for redelivered in [false, true] {
                let late = || vec![JobReturn { redelivered, ..item(old, "web1", 9) }];
                (_, server) = testing::on(server, || store(late()));
                assert_eq!(server.values["web1:test.ping"], new, "broken off after {breaks_after}");
            }
        }
    }

    #[test]
    fn of_a_batch_the_latest_job_is_the_last_one() {
        let batch = ["named", "20260214120000000000", "20260214110000000000"].map(|jid| item(jid, "web1", 9));
        let (_, server) = testing::on(Server::default(), || store(batch.into()));
        assert_eq!(server.values["web1:test.ping"], "20260214120000000000");
    }

    #[test]
    fn no_command_grows_without_a_bound() {
        let jobs = by_job((0..4).map(|_| item("1", "a", MAX_BYTES / 2)).collect());
        assert_eq!(jobs.iter().map(|job| job.items.len()).collect::<Vec<_>>(), [2, 2]);
    }
}
