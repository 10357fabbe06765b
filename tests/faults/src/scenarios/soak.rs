//! Nothing fails: memory and the journal stay flat while items flow.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use returner_servers::{Host, Mariadb, Redis, SqliteDatabase};
use tokio::time::{Instant, interval_at};

use super::Options;
use crate::bed::{data, limits, settle};
use crate::clients::{Clients, Mix};
use crate::ledger::Ledger;
use crate::oracle::none_may_die;
use crate::report::Summary;
use crate::stores::Stores;
use crate::targets::{Target, Targets};

/// Between two looks.
const PERIOD: Duration = Duration::from_millis(500);

/// Of the looks, the part at the beginning that does not count: pools and caches fill.
const WARM_UP: usize = 4;

/// By how much the last looks may be above the first ones: what an allocator keeps, and
/// what SQLite's log has at one moment or another.
const SLACK: u64 = 12 << 20;

/// What the host remembers of a return for as long as the window of its dedupe is, in
/// memory and on disk.
const A_KEY: u64 = 128;

/// What one look saw, in bytes.
#[derive(Debug, Clone, Copy)]
struct Look {
    memory: u64,
    journal: u64,
}

/// One of the numbers of a look.
type Of = fn(&Look) -> u64;

pub(super) async fn run(options: &Options) -> Summary {
    let stores = Stores {
        mysql: Some(Mariadb::shared().await.database().await),
        redis: Some(Redis::shared().await.database().await),
        sqlite: Some(SqliteDatabase::new()),
        ..Stores::default()
    };
    let among = [Target::Mysql, Target::Redis, Target::Sqlite];
    let config = [
        "return: [mysql, redis, sqlite3]\n".to_owned(),
        [stores.mysql().config(), stores.redis().config(), stores.sqlite().config()].concat(),
        among.map(|target| limits(target.name())).concat(),
    ];
    let mut host = Host::start(&config.concat()).await;
    let ledger = Arc::new(Ledger::default());
    let default = Some(Targets::of(&among));
    let mix = Mix { among: among.to_vec(), default, pause: 60, most: 40, length: None };
    let clients = Clients::start(&host.url("/v1/returns"), &ledger, &mix, options.seed, options.clients);
    let looks = watch(&host, options.duration).await;
    let counters = clients.finish().await;
    flat(&looks, counters.acknowledged.load(Ordering::Relaxed));
    settle(&mut host, &stores, &ledger, &counters, none_may_die).await
}

async fn watch(host: &Host, duration: Duration) -> Vec<Look> {
    let end = Instant::now() + duration;
    let mut period = interval_at(Instant::now() + PERIOD, PERIOD);
    let mut looks = Vec::new();
    while Instant::now() < end {
        period.tick().await;
        looks.push(Look { memory: resident(host.id()), journal: size(&data(host).join("journal")) });
    }
    looks
}

/// Claims that the last quarter is as the second one.
fn flat(looks: &[Look], items: u64) {
    let quarter = looks.len() / 4;
    assert!(quarter > WARM_UP, "the soak is too short: {} looks", looks.len());
    let allowed = SLACK + items * A_KEY;
    let of_memory: Of = |look| look.memory;
    let of_journal: Of = |look| look.journal;
    for (kind, of) in [("memory", of_memory), ("the journal", of_journal)] {
        let median = |looks: &[Look]| {
            let mut values: Vec<u64> = looks.iter().map(of).collect();
            values.sort_unstable();
            values[values.len() / 2]
        };
        let (early, late) = (median(&looks[quarter..2 * quarter]), median(&looks[3 * quarter..]));
        let curve: Vec<u64> = looks.iter().map(|look| of(look) >> 10).collect();
        assert!(
            late <= early + allowed,
            "{kind} grew from {early} to {late} bytes, {items} returns; in KiB: {curve:?}"
        );
    }
}

/// The resident memory of a process.
fn resident(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.expect("the host runs, and Linux says how much memory it has") << 10
}

/// The bytes of a directory's files.
fn size(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).map(|file| file.len()).sum()
}
