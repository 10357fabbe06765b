//! Reloads of all kinds, good and bad, while clients send: every acknowledged return stands
//! once in each store that it was meant for.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reqwest::Client;
use returner_servers::{
    Directory, Host, Mariadb, MysqlDatabase, PATIENCE, Run, SqliteDatabase, another_build, free_port, guest,
    new_jid, ret, returner,
};
use serde_json::json;

/// By hand, more: `RELOADS=200`.
const RELOADS: usize = 32;

const CLIENTS: usize = 4;

/// Looks before it writes what comes again.
const TABLE: &str = "CREATE TABLE trapping (jid VARCHAR(255), id VARCHAR(255), value TEXT, KEY (jid, id))";

/// A host, and everything that its versions name.
struct Fixture {
    host: Host,
    mysql: MysqlDatabase,
    sqlite: SqliteDatabase,
    /// The plugin of a returner of one's own, and its file.
    plugin: PathBuf,
    file: PathBuf,
    ports: [u16; 2],
}

impl Fixture {
    async fn new() -> Self {
        let (mysql, sqlite) = (Mariadb::shared().await.database().await, SqliteDatabase::new());
        mysql.execute(TABLE).await;
        for user in ["one", "two"] {
            let name = mysql.name();
            mysql
                .execute(&format!("CREATE USER IF NOT EXISTS '{name}_{user}'@'%' IDENTIFIED BY '{user}'"))
                .await;
            mysql.execute(&format!("GRANT ALL ON `{name}`.* TO '{name}_{user}'@'%'")).await;
        }
        let (directory, plugin) = (Directory::new("under-load"), guest("trapping").await);
        let file = directory.write("audit.wasm", fs::read(&plugin).expect("a plugin"));
        directory.write("secret", "one");
        let host = Host::start_in(directory, "host.socket: host.sock\n").await;
        let fixture = Self { host, mysql, sqlite, plugin, file, ports: [free_port(), free_port()] };
        assert!(fixture.change(31).await);
        fixture
    }

    /// What is written, and whether it is to be taken.
    fn version(&self, number: usize) -> (String, bool) {
        let (user, listen) = match number % 4 {
            0 | 1 => ("one", self.ports[0]),
            _ => ("two", self.ports[1]),
        };
        let mut options = self.mysql.options();
        options.retain(|(key, _)| !["user", "pass"].contains(key));
        let options: String =
            options.iter().map(|(key, value)| format!("mysql.{key}: '{value}'\n")).collect();
        let name = self.mysql.name();
        let base = format!(
            "return: [mysql, sqlite3, audit]\n{options}mysql.user: {name}_{user}\nmysql.pass: {{file: secret}}\n{}\
             audit.plugin: audit.wasm\n\
             audit.connections: {{db: {{connection: mysql, tables: {{trapping: [insert, select]}}}}}}\n\
             host.socket: host.sock\nhost.socket_mode: 06{}0\nhost.listen: 127.0.0.1:{listen}\nhost.data: data\n",
            self.sqlite.config(),
            number % 2 * 6,
        );
        fs::write(self.host.directory().join("secret"), user).expect("a test's file");
        let more = match number % 10 {
            0 => format!("mysql.delivery.batch: {}\n", 10 + number),
            1 => {
                format!("mysql.delivery.workers: {}\nsqlite3.limits.time: {}s\n", 1 + number % 4, 20 + number)
            }
            2 => "mysql.hots: x\n".to_owned(),
            // A connection of its own, to the same database.
            3 => format!("mysql.limits.host_call: {}s\n", 10 + number % 7),
            4 => "return: [\n".to_owned(),
            // Another returner comes and goes.
            5 => self.mysql.config_as("more.mysql"),
            6 => format!("redis: {{host: 127.0.0.1, port: {}}}\n", free_port()),
            7 => "other.plugin: nothing.wasm\n".to_owned(),
            8 => format!("sqlite3.delivery.workers: {}\n", 1 + number % 3),
            // Another build of the plugin.
            _ => {
                fs::write(&self.file, another_build(&self.plugin, &number.to_string())).expect("a plugin");
                String::new()
            }
        };
        (base + &more, !matches!(number % 10, 2 | 4 | 6 | 7))
    }

    /// Writes a version and has it read; says whether it was to be taken.
    async fn change(&self, number: usize) -> bool {
        let (config, is_good) = self.version(number);
        fs::write(self.host.directory().join("returner.yaml"), config).expect("a test's file");
        self.reload().await.expect(if is_good { 0 } else { 4 });
        is_good
    }

    /// To the address that a host of a test has.
    async fn come_back(&self) {
        let (config, _) = self.version(0);
        let is_its_own = |line: &&str| !line.starts_with("host.listen") && !line.starts_with("host.data");
        let kept: Vec<&str> = config.lines().filter(is_its_own).collect();
        self.host.rewrite(&kept.join("\n"));
        assert!(self.reload().await.code == Some(0));
    }

    async fn reload(&self) -> Run {
        let directory = self.host.directory().to_owned();
        let socket = format!("unix:{}", directory.join("host.sock").display());
        let run = move || returner(&directory, &["reload", "--url", &socket]);
        tokio::task::spawn_blocking(run).await.expect("a command")
    }

    fn urls(&self) -> [String; 2] {
        self.ports.map(|port| format!("http://127.0.0.1:{port}/v1/returns"))
    }
}

/// Sends returns one by one, each until it is acknowledged at one of the addresses.
async fn send(client: usize, jid: String, urls: [String; 2], done: Arc<AtomicBool>) -> Vec<String> {
    let http = Client::builder().timeout(Duration::from_secs(60)).no_proxy().build().expect("a client");
    let mut sent = Vec::new();
    let mut at = 0;
    while !done.load(Ordering::Relaxed) {
        let minion = format!("m{client}-{}", sent.len());
        let item = ret(&jid, &minion, "test.arg", json!("x".repeat(200))).to_string();
        let deadline = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < deadline, "neither address takes it: {urls:?}");
            let request = http.post(&urls[at]).header("Content-Type", "application/json").body(item.clone());
            match request.send().await {
                Ok(answer) => {
                    assert_eq!(answer.status().as_u16(), 202, "{}", answer.text().await.unwrap_or_default());
                    break;
                }
                // It listens elsewhere now; what came of the request is not known.
                Err(_) => at = 1 - at,
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        sent.push(minion);
    }
    sent
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_doubled() {
    let reloads = std::env::var("RELOADS").ok().and_then(|count| count.parse().ok()).unwrap_or(RELOADS);
    let fixture = Fixture::new().await;
    let (jid, done) = (new_jid(), Arc::new(AtomicBool::new(false)));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| tokio::spawn(send(client, jid.clone(), fixture.urls(), Arc::clone(&done))))
        .collect();
    for number in 0..reloads {
        fixture.change(number).await;
    }
    done.store(true, Ordering::Relaxed);
    let mut acknowledged = Vec::new();
    for client in clients {
        acknowledged.extend(client.await.expect("a client does not fail"));
    }
    assert!(!acknowledged.is_empty());
    fixture.come_back().await;
    for (name, table) in [("mysql", "salt_returns"), ("audit", "trapping")] {
        fixture.host.wait_drained(name).await;
        let rows = fixture.mysql.rows(&format!("SELECT id, COUNT(*) FROM {table} GROUP BY id")).await;
        check(name, &acknowledged, rows);
    }
    fixture.host.wait_drained("sqlite3").await;
    let rows = fixture.sqlite.rows("SELECT id, COUNT(*) FROM salt_returns GROUP BY id").await;
    check("sqlite3", &acknowledged, rows);
    println!("{} returns acknowledged during {reloads} reloads, all stored once", acknowledged.len());
}

/// Each that was acknowledged stands there once, and nothing else does.
fn check(name: &str, acknowledged: &[String], rows: Vec<(String, i64)>) {
    let stored: BTreeMap<String, i64> = rows.into_iter().collect();
    let missing: Vec<_> = acknowledged.iter().filter(|minion| !stored.contains_key(*minion)).collect();
    let doubled: Vec<_> = stored.iter().filter(|(_, count)| **count > 1).collect();
    assert!(
        missing.is_empty() && doubled.is_empty(),
        "{name}: of {} acknowledged, missing {missing:?}, doubled {doubled:?}",
        acknowledged.len()
    );
    assert_eq!(stored.len(), acknowledged.len(), "{name}");
}
