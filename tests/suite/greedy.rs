//! A client that may send returns, and takes all that it can get: memory, room for bodies, the
//! journal. The others do not notice.

use std::time::Duration;

use reqwest::Method;
use reqwest::header::RETRY_AFTER;
use returner_servers::{Host, SqliteDatabase, free_port, new_jid, ret, returner, until};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const MIB: usize = 1 << 20;

/// What the host has in memory, in bytes (`VmRSS` of proc(5)).
fn memory(host: &Host) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", host.id())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux says it");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") * 1024
}

/// What stands in the queues of the connections of a port of this machine, in bytes: as proc(5)
/// has it, in `/proc/net/tcp`.
fn on_the_way(port: u16) -> u64 {
    let of_port = format!(":{port:04X}");
    let connections = std::fs::read_to_string("/proc/net/tcp").expect("the list of connections");
    let queued = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().take(5).collect();
        let [_, local, remote, "01", queues] = fields[..] else { return None };
        let (sent, received) = queues.split_once(':')?;
        let bytes = |queue| u64::from_str_radix(queue, 16).ok();
        (local.ends_with(&of_port) || remote.ends_with(&of_port)).then_some(bytes(sent)? + bytes(received)?)
    };
    connections.lines().filter_map(queued).sum()
}

/// A return that says something with it which a returner reads, or which none does.
fn asking(kwargs: Value) -> Value {
    let mut item = ret(&new_jid(), "web1", "test.ping", json!(true));
    item["ret_kwargs"] = kwargs;
    item
}

#[tokio::test]
async fn what_returns_ask_for_is_not_kept_in_memory() {
    const SENT: usize = 500;
    let sqlite = SqliteDatabase::new();
    let host = Host::start(&sqlite.config()).await;
    let before = memory(&host);
    for number in 0..SENT {
        let long = format!("{number}{}", "A".repeat(MIB - 100));
        host.post("/v1/returns", &asking(json!({"nobody": long}))).await.expect(202);
    }
    host.wait_drained("sqlite3").await;
    let more = memory(&host).saturating_sub(before);
    assert!(more < SENT * MIB / 2, "{more} bytes more");
}

/// They hold back the end of what they send. Short returns are always taken, and a long one takes
/// the place of one that does not come.
#[tokio::test]
async fn bodies_that_do_not_come_keep_no_others_out() {
    const LARGEST: usize = 64 * MIB;
    let host = Host::start("").await;
    let address = host.url("").replace("http://", "");
    let mut held = Vec::new();
    for _ in 0..8 {
        let mut stream = TcpStream::connect(&address).await.expect("a connection");
        let head =
            format!("POST /v1/returns HTTP/1.1\r\nHost: localhost\r\nContent-Length: {LARGEST}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.expect("a write");
        stream.write_all(&vec![b' '; LARGEST - 10]).await.expect("a write");
        held.push(stream);
    }
    // A connection that is closed with something unread tells nobody why.
    let port = address.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).expect("a port");
    until("the bodies to be read", async || match on_the_way(port) {
        0 => Ok(()),
        bytes => Err(format!("{bytes} bytes are on their way")),
    })
    .await;
    for _ in 0..20 {
        host.post("/v1/returns", &ret(&new_jid(), "web2", "test.ping", json!(true))).await.expect(202);
    }
    let long = ret(&new_jid(), "web2", "test.arg", json!("x".repeat(MIB)));
    until("room for a long one", async || {
        let answer = host.post("/v1/returns", &long).await;
        if answer.status == 202 { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
    // Whoever lost the place is told to come again.
    let mut told = Vec::new();
    for stream in &mut held {
        let mut answer = [0; 4096];
        if let Ok(Ok(read)) = tokio::time::timeout(Duration::from_secs(1), stream.read(&mut answer)).await {
            told.push(String::from_utf8_lossy(&answer[..read]).to_ascii_lowercase());
        }
    }
    assert!(told.iter().any(|told| told.contains(" 503 ") && told.contains("retry-after")), "{told:?}");
}

/// What waits for a server that is never there has its own part of the journal.
#[tokio::test]
async fn a_server_that_a_client_names_and_that_is_never_there_does_not_fill_the_journal() {
    let sqlite = SqliteDatabase::new();
    let config = format!(
        "host.max_journal: 8MiB\nredis.host: 127.0.0.1\nredis.port: {}\n{}",
        free_port(),
        sqlite.config()
    );
    let mut host = Host::start(&config).await;
    let asked = || {
        let mut item = asking(json!({"db": 7}));
        item["return"] = json!("x".repeat(30_000));
        item
    };
    let greedy = async |host: &Host| host.post("/v1/returns?returner=redis", &asked()).await;
    let full = async |host: &Host| {
        until("the quota to be used up", async || {
            let answer = greedy(host).await;
            if answer.status == 503 { Ok(answer) } else { Err(format!("{answer:?}")) }
        })
        .await
    };
    let refused = full(&host).await;
    let problem = refused.problem(503);
    assert!(
        problem["detail"].as_str().is_some_and(|detail| detail.contains(r#"`redis{"db":7}`"#)),
        "{problem}"
    );
    assert!(refused.headers.contains_key(RETRY_AFTER));
    let honest = async |host: &Host| {
        for _ in 0..20 {
            let item = ret(&new_jid(), "web2", "test.arg", json!("y".repeat(3000)));
            host.post("/v1/returns?wait=stored", &item).await.expect(200);
        }
        host.get("/readyz").await.expect(200);
    };
    honest(&host).await;
    // Those that come together are taken together or not at all.
    let both = json!([asked(), ret(&new_jid(), "web2", "test.ping", json!(true))]);
    host.post("/v1/returns?returner=redis", &both).await.expect(503);
    let told = returner(host.directory(), &["status", "--url", &host.url("")]).expect(0).stdout.clone();
    assert!(told.contains("REFUSES what asks for a returner by `ret_kwargs`"), "{told}");
    // Not forgotten by a restart.
    host.restart().await;
    full(&host).await;
    honest(&host).await;
    let name: String = r#"redis{"db":7}"#.bytes().map(|byte| format!("%{byte:02X}")).collect();
    host.send(Method::DELETE, &format!("/v1/lanes/{name}"), "").await.expect(200);
    until("room again", async || {
        let answer = greedy(&host).await;
        if answer.status == 202 { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
}
