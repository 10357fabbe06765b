//! The host follows a bus whose master is a test's: what a real one does rarely, or not at will.

use std::io::Write;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use returner_servers::{Host, Mariadb, Server, SqliteDatabase, ret, until};
use serde_json::{Value, json};

const JID: &str = "20260214093012345678";

/// The socket of a master that speaks when a test does.
pub(super) struct Bus {
    path: PathBuf,
    listener: UnixListener,
}

impl Bus {
    pub(super) fn new(name: &str) -> Self {
        // The path of a socket is short.
        let path = std::env::temp_dir().join(format!("{name}-{}.ipc", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).expect("a socket");
        Self { path, listener }
    }

    pub(super) fn config(&self) -> String {
        format!("host.salt_events: {}\n", self.path.display())
    }

    /// The host's connection. A master gives up a reader that takes nothing for a minute; this
    /// one has five seconds.
    pub(super) async fn accept(&self) -> UnixStream {
        self.listener.set_nonblocking(true).expect("a socket");
        let stream = until("the host to connect", async || self.listener.accept()).await.0;
        stream.set_nonblocking(false).expect("a socket");
        stream.set_write_timeout(Some(Duration::from_secs(5))).expect("a socket");
        stream
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// A return as a master of 3007.15 publishes it.
fn returned(minion: &str, value: &Value) -> Vec<u8> {
    let mut data = ret(JID, minion, "test.echo", value.clone());
    data["cmd"] = json!("_return");
    data["_stamp"] = json!("2026-02-14T09:30:12.345678");
    let mut body = format!("salt/job/{JID}/ret/{minion}\n\n").into_bytes();
    let packed: rmpv::Value = rmpv::ext::to_value(data).expect("JSON is MessagePack");
    rmpv::encode::write_value(&mut body, &packed).expect("memory can be written to");
    let length = u32::try_from(body.len()).expect("a short message").to_be_bytes();
    [b"\x82\xa4head\x80\xa4body\xc6", &length[..], &body].concat()
}

fn millis() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// Waits until a gap is known that begins by then, in milliseconds since 1970-01-01 UTC.
async fn wait_for_a_gap_since(host: &Host, begin: u64) {
    until("the gap to be known", async || {
        let standing = host.get("/v1/salt-events").await.json();
        let from = standing["gaps"][0]["from_ms"].as_u64();
        if from.is_some_and(|from| from <= begin) { Ok(()) } else { Err(format!("{begin}: {standing}")) }
    })
    .await;
}

/// The journal takes nothing more in, and the host is stopped: what it had received and could
/// not keep is in the gap.
#[tokio::test]
async fn what_is_given_up_at_the_end_is_missing_from_then_on() {
    let mut mariadb = Mariadb::start().await;
    let mysql = mariadb.database().await;
    let bus = Bus::new("end");
    let config = format!("return: mysql\nhost.max_journal: 1MiB\n{}{}", bus.config(), mysql.config());
    let mut host = Host::start(&config).await;
    let mut stream = bus.accept().await;
    stream.write_all(&returned("first", &json!(true))).expect("the host reads");
    host.wait_drained("mysql").await;
    mariadb.kill();
    // What comes together may be taken in together: the last of them are not.
    let mut minion = 0;
    until("the journal to be full", async || {
        let value = json!("x".repeat(50_000));
        stream.write_all(&returned(&format!("minion-{minion}"), &value)).expect("the host reads");
        minion += 1;
        let log = host.log();
        if log.contains("what Salt's event bus says waits") { Ok(()) } else { Err(log) }
    })
    .await;
    let sent = millis();
    assert!(host.stop().await.success());
    assert!(host.log().contains("are given up"), "{}", host.log());
    mariadb.restart().await;
    host.restart().await;
    let mut stream = bus.accept().await;
    stream.write_all(&returned("last", &json!(true))).expect("the host reads");
    wait_for_a_gap_since(&host, sent).await;
}

/// The master goes before it has said anything: what it says until the host hears it is missing.
#[tokio::test]
async fn a_connection_that_was_silent_is_where_a_gap_begins() {
    let bus = Bus::new("silent");
    let host = Host::start(&format!("return: sqlite3\n{}", bus.config())).await;
    let silent = bus.accept().await;
    let connected = async || {
        let standing = host.get("/v1/salt-events").await.json();
        assert_eq!(standing["gaps"], json!([]), "{standing}");
        if standing["connected_since"].is_string() { Ok(()) } else { Err(standing) }
    };
    until("the host to listen", connected).await;
    let before = millis();
    drop(silent);
    let mut stream = bus.accept().await;
    stream.write_all(&returned("first", &json!(true))).expect("the host reads");
    wait_for_a_gap_since(&host, before).await;
}

/// Of two returners only one had the whole return by a minion's module.
#[tokio::test]
async fn a_trimmed_return_goes_to_those_that_had_no_whole_one() {
    let mysql = Mariadb::shared().await.database().await;
    let sqlite = SqliteDatabase::new();
    let bus = Bus::new("trim");
    let config = format!("return: [mysql, sqlite3]\nhost.salt_trimmed_wait: 1s\n{}", bus.config());
    let host = Host::start(&format!("{config}{}{}", mysql.config(), sqlite.config())).await;
    let mut stream = bus.accept().await;
    let whole = ret(JID, "web1", "test.echo", json!("x".repeat(50_000)));
    host.post("/v1/returns?returner=mysql", &whole).await.expect(202);
    host.wait_drained("mysql").await;
    stream.write_all(&returned("web1", &json!("VALUE_TRIMMED"))).expect("the host reads");
    until("the trimmed return in SQLite", async || {
        let rows: Vec<(String,)> = sqlite.rows("SELECT full_ret FROM salt_returns").await;
        if rows.len() == 1 { Ok(()) } else { Err(format!("{rows:?}")) }
    })
    .await;
    host.wait_drained("mysql").await;
    assert_eq!(mysql.count("salt_returns").await, 1);
    let stored = host.get(&format!("/v1/jobs/{JID}/returns?returner=mysql")).await.json();
    assert_eq!(stored["returns"][0]["full"]["return"], whole["return"]);
}

/// A trimmed return is to be taken in for two returners, the journal is full, and one of the two is
/// taken out of the configuration: the other gets it.
#[tokio::test]
async fn a_trimmed_return_that_waits_goes_to_those_that_are_left() {
    let mut mariadb = Mariadb::start().await;
    let (mysql, sqlite) = (mariadb.database().await, SqliteDatabase::new());
    let bus = Bus::new("left");
    let rest = format!(
        "host.salt_trimmed_wait: 1s\nhost.max_journal: 1MiB\n{}{}mysql.delivery: {{max_backoff: 1s}}\n",
        bus.config(),
        mysql.config()
    );
    let host = Host::start(&format!("return: [mysql, sqlite3]\n{rest}{}", sqlite.config())).await;
    host.wait_set_up("mysql").await;
    let mut stream = bus.accept().await;
    mariadb.kill();
    let mut minion = 0;
    until("the journal to be full", async || {
        minion += 1;
        let item = ret(JID, &format!("minion-{minion}"), "test.echo", json!("x".repeat(50_000)));
        match host.post("/v1/returns?returner=mysql", &item).await.status {
            503 => Ok(()),
            status => Err(status),
        }
    })
    .await;
    // There is room for some that are short, until there is none.
    let mut sent = 0;
    until("a trimmed return to wait", async || {
        let message = returned(&format!("trimmed-{sent}"), &json!("VALUE_TRIMMED"));
        stream.write_all(&message).expect("the host reads");
        sent += 1;
        let log = host.log();
        if log.contains("what Salt's event bus says waits") { Ok(()) } else { Err(log) }
    })
    .await;
    host.reload(&format!("return: mysql\n{rest}")).await.expect(200);
    mariadb.restart().await;
    until("the trimmed returns in MySQL", async || {
        let rows: Vec<(String,)> = mysql.rows("SELECT id FROM salt_returns WHERE id LIKE 'trimmed-%'").await;
        if rows.len() == sent { Ok(()) } else { Err(host.get("/v1/salt-events").await.text) }
    })
    .await;
}

/// What is no master makes no noise, and no gaps.
#[tokio::test]
async fn who_speaks_something_else_is_not_followed() {
    let bus = Bus::new("other");
    let host = Host::start(&format!("return: sqlite3\n{}", bus.config())).await;
    for _ in 0..3 {
        let mut stream = bus.accept().await;
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    }
    let standing = host.get("/v1/salt-events").await.json();
    assert_eq!((&standing["connected_since"], &standing["gaps"]), (&json!(null), &json!([])), "{standing}");
    assert!(
        standing["error"].as_str().is_some_and(|error| error.contains("no message of Salt's")),
        "{standing}"
    );
    assert_eq!(host.log().matches("it is tried again").count(), 1, "{}", host.log());
}
