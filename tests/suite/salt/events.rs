//! The host follows a master's event bus.

use std::time::Duration;

use returner_servers::{
    Host, Mariadb, Master, Minion, MysqlDatabase, SaltVersion, SqliteDatabase, free_port, returner, until,
    until_within,
};
use serde_json::{Value, json};

use super::{install, is_ours, of_both_versions, url};

/// A master, a host that follows it, and a minion.
struct Followed {
    host: Host,
    mysql: MysqlDatabase,
    master: Master,
    minion: Minion,
}

impl Followed {
    /// With more lines for the host, and for the master and minion.
    async fn new(version: SaltVersion, host: &str, salt: &str) -> Self {
        let master = Master::start(version, salt).await;
        let bus = master.event_bus().display().to_string();
        Self::at(master, &bus, host, salt).await
    }

    /// Where its bus is somewhere else.
    async fn at(master: Master, bus: &str, host: &str, salt: &str) -> Self {
        let mysql = Mariadb::shared().await.database().await;
        let returns = if host.contains("return:") { "" } else { "return: mysql\n" };
        let config = format!("{returns}event_return: mysql\nid: {}\n", master.id());
        let config = format!("{config}host.salt_events: {bus}\n{host}{}", mysql.config());
        let host = Host::start(&config).await;
        let minion = master.minion("m1", &format!("{}{salt}", url(&host))).await;
        let followed = Self { host, mysql, master, minion };
        followed.is_heard().await;
        followed
    }

    /// Waits until the host listens.
    async fn is_heard(&self) {
        until("the host to follow the bus", async || {
            let standing = self.host.get("/v1/salt-events").await.json();
            if standing["connected_since"].is_string() { Ok(()) } else { Err(standing.to_string()) }
        })
        .await;
    }

    /// What is stored that this function of `m1` returned, oldest first.
    async fn stored(&self, fun: &str) -> Vec<Value> {
        let query =
            format!("SELECT CAST(full_ret AS CHAR) FROM salt_returns WHERE fun = '{fun}' AND id = 'm1'");
        let rows: Vec<(String,)> = self.mysql.rows(&query).await;
        let mut stored: Vec<Value> =
            rows.iter().map(|(full,)| serde_json::from_str(full).expect("JSON")).collect();
        stored.sort_by_key(|full| full["jid"].to_string());
        stored
    }

    /// Waits until the value was returned by `test.echo`; gives the job's id.
    async fn echoed(&self, value: &str) -> String {
        until("the echo to be stored", async || {
            let stored = self.stored("test.echo").await;
            match stored.iter().find(|full| full["return"] == value) {
                Some(full) => Ok(full["jid"].as_str().unwrap_or_default().to_owned()),
                None => Err(format!("{stored:?}\n{}", self.host.log())),
            }
        })
        .await
    }

    /// Carries the modules of the host to the minion.
    async fn install(&self) {
        install(&self.host, &self.master);
        self.master.salt(&["saltutil.sync_all"]);
        is_ours(&self.master).await;
    }
}

of_both_versions!(
    loads_returns_runs_and_events_are_stored_once,
    what_was_missed_is_known_and_filled_in,
    what_salt_trims_is_marked_or_whole,
);

async fn loads_returns_runs_and_events_are_stored_once(version: SaltVersion) {
    let followed = Followed::new(version, "host.salt_event_tags: ['mine/*', '!mine/not']\n", "").await;
    let master = &followed.master;
    master.salt(&["test.echo", "heard"]);
    let jid = followed.echoed("heard").await;
    let load = followed.host.get(&format!("/v1/jobs/{jid}")).await.expect(200).json()["load"].clone();
    assert_eq!((&load["fun"], &load["Minions"]), (&json!("test.echo"), &json!(["m1"])), "{load}");

    // A runner's return is the master's.
    master.runner(&["test.arg", "one"]);
    until("the runner's return", async || {
        let query = "SELECT id, CAST(full_ret AS CHAR) FROM salt_returns WHERE fun = 'runner.test.arg'";
        let rows: Vec<(String, String)> = followed.mysql.rows(query).await;
        let is_it = |(id, full): &(String, String)| {
            let full: Value = serde_json::from_str(full).expect("JSON");
            *id == master.id() && full["return"]["return"]["args"] == json!(["one"])
        };
        if rows.len() == 1 && is_it(&rows[0]) { Ok(()) } else { Err(format!("{rows:?}")) }
    })
    .await;

    // Events, as far as they are wanted.
    for tag in ["mine/not", "other", "mine/one"] {
        followed.minion.call(&["event.send", tag, "{\"a\": 1}"]).expect(0);
    }
    until("the event", async || {
        let tags: Vec<(String,)> = followed.mysql.rows("SELECT tag FROM salt_events").await;
        if tags == [("mine/one".to_owned(),)] { Ok(()) } else { Err(format!("{tags:?}")) }
    })
    .await;

    // By the bus and by the minion's module, also what JSON has no form for.
    let modules = master.roots().join("_modules");
    std::fs::create_dir_all(&modules).expect("a directory");
    std::fs::write(modules.join("odd.py"), ODD).expect("a file");
    followed.install().await;
    for (known, function) in [(1, vec!["test.echo", "twice"]), (2, vec!["odd.values"])] {
        master.salt(&[&function[..], &["--return", "mysql"]].concat());
        until("the second copy to be known", async || {
            let metrics = followed.host.get("/metrics").await.text;
            let line = format!("returner_items_duplicate_total{{kind=\"return\"}} {known}");
            if metrics.lines().any(|found| found == line) { Ok(()) } else { Err(metrics) }
        })
        .await;
        followed.host.wait_drained("mysql").await;
    }
    let twice = followed.stored("test.echo").await;
    assert_eq!(twice.iter().filter(|full| full["return"] == "twice").count(), 1, "{twice:?}");
    let odd = followed.stored("odd.values").await;
    assert_eq!(odd.len(), 1, "{odd:?}");
    assert_eq!(odd[0]["return"]["date"], "2026-02-14T00:00:00");
}

/// What Salt packs for its bus in a form of its own.
const ODD: &str = r#"
import datetime

def values():
    zone = datetime.timezone(datetime.timedelta(hours=1))
    return {
        "set": {"web", "db", "cache", "mail", "dns"},
        "of tuples": {("a", 1), ("b", 2)},
        "date": datetime.date(2026, 2, 14),
        "time": datetime.datetime(2026, 2, 14, 9, 30, 12),
        "moment": datetime.datetime(2026, 2, 14, 9, 30, 12, 345678, zone),
        "number": -(2**70),
        "bytes": b"text",
    }
"#;

/// `ipc_mode: tcp`.
#[tokio::test]
async fn a_bus_by_tcp() {
    let names =
        ["tcp_master_pub_port", "tcp_master_pull_port", "tcp_master_publish_pull", "tcp_master_workers"];
    let ports = names.map(|name| (name, free_port()));
    let salt: String = ports.iter().map(|(name, port)| format!("{name}: {port}\n")).collect();
    let minion = format!("tcp_pub_port: {}\ntcp_pull_port: {}\n", free_port(), free_port());
    let salt = format!("ipc_mode: tcp\n{salt}{minion}");
    let master = Master::start(SaltVersion::V3007, &salt).await;
    let bus = format!("tcp://127.0.0.1:{}", ports[0].1);
    let followed = Followed::at(master, &bus, "", &salt).await;
    followed.master.salt(&["test.echo", "by tcp"]);
    followed.echoed("by tcp").await;
}

async fn what_was_missed_is_known_and_filled_in(version: SaltVersion) {
    let mut followed = Followed::new(version, "", "").await;
    let gaps = async |followed: &Followed| {
        let standing = followed.host.get("/v1/salt-events").await.json();
        standing["gaps"].as_array().map_or(0, Vec::len)
    };
    assert_eq!(gaps(&followed).await, 0);
    // The master restarts: the host goes on by itself.
    followed.master.restart("").await;
    until_within(Duration::from_secs(180), "the host to hear again", async || {
        let count = gaps(&followed).await;
        if count > 0 { Ok(()) } else { Err(followed.host.log()) }
    })
    .await;
    followed.master.wait_for(&followed.minion).await;
    followed.is_heard().await;
    followed.master.salt(&["test.echo", "after the restart"]);
    followed.echoed("after the restart").await;

    // The host is down while jobs run.
    followed.host.kill();
    followed.master.salt(&["test.echo", "missed"]);
    followed.host.restart().await;
    followed.is_heard().await;
    // The first message tells that it listens in the right place.
    followed.master.salt(&["test.echo", "heard again"]);
    followed.echoed("heard again").await;
    let before = gaps(&followed).await;
    assert!(before >= 1);
    let cache = followed.master.cache().join("jobs").display().to_string();
    let status = returner(followed.host.directory(), &["status", "--url", &followed.host.url("")]);
    assert!(status.expect(0).stdout.contains("returner salt backfill"), "{}", status.stdout);
    let backfill = || {
        let arguments = ["salt", "backfill", "--config", "returner.yaml", "--job-cache", &cache, "--json"];
        let url = followed.host.url("");
        returner(followed.host.directory(), &[&arguments[..], &["--url", &url]].concat()).expect(0).json()
    };
    // Where there is no job cache, and no jobs, nothing is called filled.
    let elsewhere = followed.master.roots().display().to_string();
    let arguments = ["salt", "backfill", "--config", "returner.yaml", "--job-cache", &elsewhere];
    let url = followed.host.url("");
    let wrong = returner(followed.host.directory(), &[&arguments[..], &["--url", &url]].concat());
    assert!(wrong.expect(1).stderr.contains("there is no job of Salt's in it"), "{}", wrong.stderr);
    assert_eq!(gaps(&followed).await, before);
    // What the host had already is within the gaps' surroundings, and is not sent again.
    let filled = backfill();
    assert_eq!(filled["filled"], json!(before), "{filled}");
    assert!(filled["returns"]["mysql"].as_u64() >= Some(1), "{filled}");
    followed.echoed("missed").await;
    let again = backfill();
    assert_eq!(again, json!({"jobs": 0, "returns": {}, "filled": 0, "left": []}));
    followed.host.wait_drained("mysql").await;
    let stored = followed.stored("test.echo").await;
    let values: Vec<&Value> = stored.iter().map(|full| &full["return"]).collect();
    assert_eq!(values, ["after the restart", "missed", "heard again"]);
}

/// The master has its jobs in a returner of the host's, which it sends to itself: the others are
/// filled from that one.
#[tokio::test]
async fn what_the_masters_job_cache_has_fills_the_others() {
    let other = SqliteDatabase::new();
    let lines = format!("return: [mysql, sqlite3]\n{}", other.config());
    let mut followed = Followed::new(SaltVersion::V3008, &lines, "").await;
    followed.install().await;
    followed.master.command("salt-run", &["saltutil.sync_returners"]).expect(0);
    followed.master.restart(&format!("{}master_job_cache: mysql\n", url(&followed.host))).await;
    followed.master.wait_for(&followed.minion).await;
    followed.is_heard().await;
    followed.host.kill();
    followed.master.salt(&["test.echo", "missed"]);
    followed.host.restart().await;
    followed.is_heard().await;
    // With this one goes what the master has kept.
    followed.master.salt(&["test.echo", "heard"]);
    followed.echoed("missed").await;
    let echoed = async || -> Vec<(String,)> {
        followed.host.wait_drained("sqlite3").await;
        other.rows("SELECT full_ret FROM salt_returns WHERE fun = 'test.echo' ORDER BY jid").await
    };
    until("the one that is heard", async || {
        let found = echoed().await;
        if found == [("\"heard\"".to_owned(),)] { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
    let (salts, url) = (followed.master.config_file(), followed.host.url(""));
    let words =
        ["salt", "backfill", "--config", "returner.yaml", "--salt-config", &salts, "--url", &url, "--json"];
    let filled = returner(followed.host.directory(), &words).expect(0).json();
    assert!(filled["filled"].as_u64() >= Some(1), "{filled}");
    assert!(
        filled["returns"]["sqlite3"].as_u64() >= Some(1) && filled["returns"]["mysql"].is_null(),
        "{filled}"
    );
    assert_eq!(echoed().await, [("\"missed\"".to_owned(),), ("\"heard\"".to_owned(),)]);
}

async fn what_salt_trims_is_marked_or_whole(version: SaltVersion) {
    let followed = Followed::new(version, "host.salt_trimmed_wait: 10s\n", "max_event_size: 30000\n").await;
    let large = "x".repeat(60_000);
    followed.master.salt(&["test.echo", &large]);
    let jid = followed.echoed("VALUE_TRIMMED").await;
    let stored = followed.stored("test.echo").await;
    assert_eq!(stored[0]["value_trimmed"], json!(true), "{stored:?}");

    // The minion's module sends it whole: that one is stored, and no other.
    followed.install().await;
    followed.master.salt(&["test.echo", &large, "--return", "mysql"]);
    followed.echoed(&large).await;
    until("the trimmed one to be given up", async || {
        let metrics = followed.host.get("/metrics").await.text;
        let given_up = "returner_salt_messages_total{became=\"replaced\"} 1";
        if metrics.lines().any(|line| line == given_up) { Ok(()) } else { Err(metrics) }
    })
    .await;
    followed.host.wait_drained("mysql").await;
    let stored = followed.stored("test.echo").await;
    let later: Vec<&Value> = stored.iter().filter(|full| full["jid"] != *jid).collect();
    assert_eq!(later.len(), 1);
    assert_eq!(later[0]["return"], large);
}

/// What keeps a minion from storing is said, each with what mends it.
#[tokio::test]
async fn the_doctor_says_what_is_wrong() {
    let mut followed = Followed::new(SaltVersion::V3008, "", "").await;
    let config = followed.minion.config_file();
    let doctor = |host: &Host| returner(host.directory(), &["salt", "doctor", "--salt-config", &config]);
    let missing = doctor(&followed.host);
    assert!(
        missing.expect(1).stdout.contains("WRONG  the module `mysql` is not synchronised"),
        "{}",
        missing.stdout
    );
    assert!(missing.stdout.contains("salt '*' saltutil.sync_all"), "{}", missing.stdout);
    followed.install().await;
    let well = doctor(&followed.host);
    assert!(well.expect(0).stdout.contains("ok     the module `mysql` is there"), "{}", well.stdout);
    assert!(well.stdout.contains("takes what comes from here"), "{}", well.stdout);
    // A module of a returner that the host has no longer.
    let modules = followed.minion.cache().parent().expect("a directory").join("extmods/returners");
    let gone = modules.join("gone.py");
    std::fs::copy(modules.join("mysql.py"), &gone).expect("the module");
    let lacks = doctor(&followed.host);
    let words = "WRONG  the module `gone` is there, and the host has no returner of that name";
    assert!(lacks.expect(1).stdout.contains(words), "{}", lacks.stdout);
    std::fs::remove_file(&gone).expect("a file");
    let own = std::fs::read_to_string(&config).expect("the minion's file");
    std::fs::write(&config, format!("{own}alternative.mysql.host: db2\n")).expect("the minion's file");
    let unread = doctor(&followed.host);
    let words = "note   `alternative.mysql.*` stands in Salt's file, which the modules do not read";
    assert!(unread.expect(0).stdout.contains(words), "{}", unread.stdout);
    // One that is nowhere, and one that Salt has itself.
    std::fs::write(&config, format!("{own}return: [nosuch, smtp]\n")).expect("the minion's file");
    let nowhere = doctor(&followed.host);
    for words in
        ["WRONG  Salt's file names the returner `nosuch`", "note   Salt's file names the returner `smtp`"]
    {
        assert!(nowhere.expect(1).stdout.contains(words), "{}", nowhere.stdout);
    }
    std::fs::write(&config, own).expect("the minion's file");
    // Tables as Salt's manual makes them.
    followed.mysql.execute("ALTER TABLE salt_returns MODIFY fun varchar(50) NOT NULL").await;
    followed.host.restart().await;
    let narrow = until("the plugin to look at the tables", async || {
        let run = doctor(&followed.host);
        if run.stdout.contains("warns: the tables are those of Salt's manual") {
            Ok(run)
        } else {
            Err(run.stdout)
        }
    })
    .await;
    assert!(narrow.expect(0).stdout.contains("note   the plugin of `mysql` warns"), "{}", narrow.stdout);
    assert!(narrow.stdout.contains("`returner schema mysql`"), "{}", narrow.stdout);
    followed.host.pause();
    let hangs = doctor(&followed.host);
    followed.host.resume();
    assert!(hangs.expect(1).stdout.contains("does not answer within 10s"), "{}", hangs.stdout);
    followed.host.kill();
    followed.minion.call(&["--local", "test.echo", "kept", "--return", "mysql"]);
    let away = doctor(&followed.host);
    assert!(away.expect(1).stdout.contains("WRONG  no answer from"), "{}", away.stdout);
    assert!(away.stdout.contains("1 waits for `mysql`"), "{}", away.stdout);
    followed.host.restart().await;
}
