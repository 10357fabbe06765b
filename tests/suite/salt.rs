//! A real Salt with the modules that `returner salt install` writes: what minions return by
//! them stands in the stores, and a master has its jobs there. On both versions.

mod answers;
mod away;
mod bus;
mod events;
mod from_minion;
mod install;
mod job_cache;
mod own;
mod python;
mod reach;
mod recorded;
mod values;

use returner_servers::{
    Host, Mariadb, Master, Minion, MongoDatabase, Mongodb, MysqlDatabase, Redis, RedisDatabase, SaltVersion,
    SqliteDatabase, returner, until,
};
use serde_json::{Value, json};

/// A host with the four bundled returners, a master with its modules, and a minion.
struct Fixture {
    host: Host,
    mysql: MysqlDatabase,
    redis: RedisDatabase,
    mongo: MongoDatabase,
    sqlite: SqliteDatabase,
    master: Master,
    minion: Minion,
}

impl Fixture {
    async fn new(version: SaltVersion) -> Self {
        Self::with(version, "", "").await
    }

    /// With more lines for the host and for the minion.
    async fn with(version: SaltVersion, host: &str, minion: &str) -> Self {
        let mysql = Mariadb::shared().await.database().await;
        let redis = Redis::shared().await.database().await;
        let mongo = Mongodb::shared().await.database();
        let sqlite = SqliteDatabase::new();
        let configs = [mysql.config(), redis.config(), mongo.config(), sqlite.config()].concat();
        let host = Host::start(&format!("return: [mysql, redis]\n{configs}{host}")).await;
        let master = Master::start(version, "").await;
        let minion = master.minion("m1", &format!("{}{minion}", url(&host))).await;
        install(&host, &master);
        let fixture = Self { host, mysql, redis, mongo, sqlite, master, minion };
        fixture.synchronise("saltutil.sync_returners").await;
        fixture
    }

    /// Carries the modules to the minions, and waits until they are listed.
    async fn synchronise(&self, function: &str) {
        self.master.salt(&[function]);
        until("the modules to be listed", async || {
            let listed = self.master.salt(&["sys.list_returners"]);
            let has = |name| listed["m1"].as_array().is_some_and(|names| names.contains(&json!(name)));
            let all = ["mysql", "redis", "mongo", "sqlite3"].into_iter().all(has);
            if all { Ok(()) } else { Err(listed.to_string()) }
        })
        .await;
        is_ours(&self.master).await;
    }

    /// Waits until MySQL has a row of this function and value.
    async fn in_mysql(&self, fun: &str, value: &Value) {
        until("the row in MySQL", async || {
            let rows: Vec<(String, String)> =
                self.mysql.rows("SELECT CAST(fun AS CHAR), CAST(`return` AS CHAR) FROM salt_returns").await;
            let is_it = |(name, text): &(String, String)| {
                name == fun && serde_json::from_str::<Value>(text).is_ok_and(|found| found == *value)
            };
            if rows.iter().any(is_it) { Ok(()) } else { Err(format!("{rows:?}")) }
        })
        .await;
    }
}

/// Waits until the minions have the host's module `mysql`: what is listed may be Salt's own of
/// that name, and is not yet what runs.
async fn is_ours(master: &Master) {
    until("the modules to be ours", async || {
        let described = master.salt(&["sys.returner_doc", "mysql"]).to_string();
        if described.contains("If the host is away") { Ok(()) } else { Err(described) }
    })
    .await;
}

/// Writes the modules of a host for a master to carry to its minions.
fn install(host: &Host, master: &Master) {
    let roots = master.roots().display().to_string();
    let arguments = ["salt", "install", "--config", "returner.yaml", "--to", &roots];
    returner(host.directory(), &arguments).expect(0);
}

/// The line that tells a minion or master where the host is.
fn url(host: &Host) -> String {
    format!("returner.url: {}\n", host.url(""))
}

/// The same test of both versions.
macro_rules! of_both_versions {
    ($($name:ident),+ $(,)?) => {
        mod v3007 { $(#[tokio::test] async fn $name() { super::$name(returner_servers::SaltVersion::V3007).await; })+ }
        mod v3008 { $(#[tokio::test] async fn $name() { super::$name(returner_servers::SaltVersion::V3008).await; })+ }
    };
}
use of_both_versions;
