//! A server that hangs: connections stay open and nobody answers. Its lane waits and
//! tries again; nothing else does.

use std::time::{Duration, Instant};

use mongodb::bson::doc;
use returner_servers::{Flavour, Host, Mariadb, Mongodb, Redis, Server, SqliteDatabase, new_jid, ret, until};
use serde_json::{Value, json};

/// How many returns are sent while the server hangs.
const RETURNS: usize = 50;

/// What must not wait for the server that hangs.
const AT_ONCE: Duration = Duration::from_secs(10);

fn config(name: &str, connection: &str, other: &SqliteDatabase) -> String {
    format!(
        "return: [{name}, sqlite3]\n{connection}{}\
         {name}.limits: {{host_call: 1s, time: 5s}}\n{name}.delivery: {{max_backoff: 1s}}\n",
        other.config()
    )
}

fn returns(jid: &str) -> Value {
    (0..RETURNS).map(|number| ret(jid, &format!("web{number}"), "test.ping", json!(number))).collect()
}

/// Sends returns while the server hangs, and claims that nothing but its lane notices.
async fn send(host: &Host, name: &str, jid: &str, other: &SqliteDatabase) {
    let began = Instant::now();
    host.post("/v1/returns", &returns(jid)).await.expect(202);
    host.wait_drained("sqlite3").await;
    assert_eq!(usize::try_from(other.count("salt_returns").await), Ok(RETURNS));
    host.get("/healthz").await.expect(200);
    host.get("/readyz").await.expect(200);
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    until("the lane to try again", async || {
        let entry = host.returner(name).await;
        let tries = entry["last_error"].is_object() && entry["state"] != "ready";
        if tries { Ok(()) } else { Err(entry.to_string()) }
    })
    .await;
}

#[tokio::test]
async fn mysql_hangs() {
    let (mut server, other) = (Mariadb::start().await, SqliteDatabase::new());
    let database = server.database().await;
    let host = Host::start(&config("mysql", &database.config(), &other)).await;
    host.wait_drained("mysql").await;
    server.pause();
    send(&host, "mysql", &new_jid(), &other).await;
    server.resume();
    host.wait_drained("mysql").await;
    assert_eq!(usize::try_from(database.count("salt_returns").await), Ok(RETURNS), "each once");
}

#[tokio::test]
async fn redis_hangs() {
    let (mut server, other) = (Redis::start().await, SqliteDatabase::new());
    let database = server.database().await;
    let host = Host::start(&config("redis", &database.config(), &other)).await;
    server.pause();
    let jid = new_jid();
    send(&host, "redis", &jid, &other).await;
    server.resume();
    host.wait_drained("redis").await;
    assert_eq!(database.ask::<usize>(&["HLEN", &format!("ret:{jid}")]).await, RETURNS);
}

#[tokio::test]
async fn mongo_hangs() {
    let (mut server, other) = (Mongodb::start(Flavour::Nx).await, SqliteDatabase::new());
    let database = server.database();
    let host = Host::start(&config("mongo", &database.config(), &other)).await;
    server.pause();
    let jid = new_jid();
    send(&host, "mongo", &jid, &other).await;
    server.resume();
    host.wait_drained("mongo").await;
    assert_eq!(database.find("saltReturns", doc! {"jid": &jid}).await.len(), RETURNS, "each once");
}
