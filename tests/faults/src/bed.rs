//! A test bed: a host, its returners, and their servers behind proxies.
//!
//! What it promises: the time limits are short, so that what hangs is found out in
//! seconds; what a test bed starts ends with it; and its end is the oracle's judgement.

use std::path::PathBuf;
use std::time::Duration;

use returner_servers::{
    Flavour, Host, Mariadb, Mongodb, MysqlDatabase, Proxy, Redis, SqliteDatabase, guest, until_within,
};

use crate::clients::Counters;
use crate::ledger::Ledger;
use crate::oracle::{Findings, MayDie};
use crate::report::Summary;
use crate::stores::{Stores, TRAPPING_TABLE, dead_letters};
use crate::targets::{Target, Targets};

/// How long the lanes may take to deliver everything once nothing fails any more. Isolating
/// poison takes a second or so for each, and starts anew when the host is killed.
const TO_DRAIN: Duration = Duration::from_secs(600);

/// A server that a test bed stops, kills and reaches through a proxy.
#[derive(Debug)]
pub(crate) struct Behind<S> {
    pub(crate) server: S,
    pub(crate) proxy: Proxy,
}

/// The whole of it.
#[derive(Debug)]
pub(crate) struct TestBed {
    pub(crate) host: Host,
    pub(crate) mysql: Behind<Mariadb>,
    pub(crate) redis: Behind<Redis>,
    pub(crate) mongo: Behind<Mongodb>,
    pub(crate) stores: Stores,
}

/// Where a return goes that names no returner.
pub(crate) fn default_targets() -> Targets {
    Targets::of(&[Target::Mysql, Target::Sqlite])
}

impl TestBed {
    /// Starts everything: each store, and the plugin that traps.
    pub(crate) async fn start() -> Self {
        let guest = tokio::spawn(guest("trapping"));
        let (mariadb, redis, mongodb) =
            tokio::join!(Mariadb::start(), Redis::start(), Mongodb::start(Flavour::Nx));
        let stores = Stores {
            mysql: Some(mariadb.database().await),
            redis: Some(redis.database().await),
            mongo: Some(mongodb.database()),
            sqlite: Some(SqliteDatabase::new()),
        };
        stores.mysql().execute(TRAPPING_TABLE).await;
        let options = [
            ("mysql", stores.mysql().options()),
            ("redis", stores.redis().options()),
            ("mongo", stores.mongo.as_ref().map(|mongo| mongo.options()).unwrap_or_default()),
        ];
        // Clients send again what they sent long before: in a long run, after ten minutes, too.
        let mut config = "return: [mysql, sqlite3]\nhost.drain: 2s\nhost.dedupe_window: 24h\n".to_owned();
        let mut proxies = Vec::new();
        for (name, options) in options {
            let (proxy, lines) = Proxy::in_front_of(name, &options).await;
            config += &lines;
            proxies.push(proxy);
        }
        config += &stores.sqlite().config();
        config += &trapping(&guest.await.expect("the plugin is built"));
        config += &Target::ALL.map(|target| limits(target.name())).concat();
        let host = Host::start(&config).await;
        let mut proxies = proxies.into_iter();
        let mut proxy = || proxies.next().expect("there is a proxy for each server");
        Self {
            host,
            mysql: Behind { server: mariadb, proxy: proxy() },
            redis: Behind { server: redis, proxy: proxy() },
            mongo: Behind { server: mongodb, proxy: proxy() },
            stores,
        }
    }
}

/// Waits until everything is delivered, stops the host, and compares.
///
/// # Panics
///
/// If an obligation is not met.
pub(crate) async fn settle(
    host: &mut Host,
    stores: &Stores,
    ledger: &Ledger,
    counters: &Counters,
    may_die: MayDie,
) -> Summary {
    drain(host).await;
    let status = host.stop().await;
    assert!(status.success(), "after everything was delivered the host ended with {status}");
    let dead = dead_letters(&data(host)).await;
    let findings = Findings::of(ledger, stores, &dead, may_die).await;
    let summary = Summary::of(ledger, counters, &findings);
    assert!(
        findings.are_none(),
        "obligations that are not met:\n{findings}of {summary}\nlogs, journal and configuration: {}",
        host.directory().display()
    );
    summary
}

/// Waits until no lane has anything left.
pub(crate) async fn drain(host: &Host) {
    until_within(TO_DRAIN, "the lanes to deliver everything", async || {
        let answer = host.get("/v1/returners").await.expect(200).json();
        let returners = answer["returners"].as_array().cloned().unwrap_or_default();
        let behind: Vec<String> = returners
            .iter()
            .filter(|entry| entry["depth"] != 0)
            .map(|entry| format!("{}: {} ({})", entry["name"], entry["depth"], entry["last_error"]))
            .collect();
        if behind.is_empty() { Ok(()) } else { Err(behind.join("; ")) }
    })
    .await;
}

/// The host's data, of one that was started with a directory of its own.
pub(crate) fn data(host: &Host) -> PathBuf {
    host.directory().join("data")
}

/// Short limits: what takes longer than a second hangs.
pub(crate) fn limits(name: &str) -> String {
    format!("{name}.limits: {{host_call: 1s, time: 5s}}\n{name}.delivery: {{max_backoff: 1s}}\n")
}

/// The configuration of MySQL alone, not through a proxy.
pub(crate) fn mysql_only(database: &MysqlDatabase) -> String {
    format!("return: mysql\nhost.drain: 2s\n{}{}", database.config(), limits("mysql"))
}

fn trapping(plugin: &std::path::Path) -> String {
    format!("trapping.plugin: {}\ntrapping.connections: {{db: mysql}}\n", plugin.display())
}
