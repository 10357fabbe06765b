//! A server that hangs: connections stay open and nobody answers. Its lane waits and
//! tries again; nothing else does.

use std::time::{Duration, Instant};

use mongodb::bson::doc;
use reqwest::Method;
use returner_servers::{
    Flavour, Host, Mariadb, Mongodb, Redis, Server, SqliteDatabase, guest, new_jid, ret, until,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

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

/// One that `ret_kwargs` asked for. Whoever drops it does not wait for its server.
#[tokio::test]
async fn a_lane_that_a_return_asked_for_is_dropped_while_its_server_hangs() {
    let (mut server, other) = (Redis::start().await, SqliteDatabase::new());
    let (database, asked) = (server.database().await, server.database().await);
    let host = Host::start(&config("redis", &database.config(), &other)).await;
    let asking = || {
        let mut item = ret(&new_jid(), "web1", "test.ping", json!(true));
        item["ret_kwargs"] = json!({"db": asked.number()});
        item
    };
    host.post("/v1/returns?returner=redis&wait=stored", &asking()).await.expect(200);
    server.pause();
    host.post("/v1/returns?returner=redis", &asking()).await.expect(202);
    let answer = host.get("/v1/returners").await.expect(200).json();
    let mut names =
        answer["returners"].as_array().into_iter().flatten().filter_map(|one| one["name"].as_str());
    let name = names.find(|name| name.contains('{')).expect("a returner that was asked for");
    let encoded: String = name.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let began = Instant::now();
    let dropped = host.send(Method::DELETE, &format!("/v1/lanes/{encoded}"), "").await.expect(200).json();
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    assert_eq!(dropped["dropped"], 1, "{dropped}");
    server.resume();
    // It can be asked for again.
    host.post("/v1/returns?returner=redis&wait=stored", &asking()).await.expect(200);
}

/// Each item takes a while, and all of them are too many for the time of one call.
#[tokio::test]
async fn a_batch_that_takes_too_long_is_delivered_in_parts() {
    let (url, _server) = slow_server(Duration::from_millis(300)).await;
    let plugin = guest("reaching").await.display().to_string();
    let host = Host::start(&format!(
        "return: slow\nslow.plugin: {plugin}\nslow.allow_http: ['{url}']\n\
         slow.limits.time: 2s\nslow.delivery: {{workers: 1, max_backoff: 1s}}\n"
    ))
    .await;
    let jid = new_jid();
    let wanted = format!("http {url}/");
    let items: Value = (0..12).map(|number| ret(&jid, &format!("web{number}"), "x", json!(wanted))).collect();
    host.post("/v1/returns", &items).await.expect(202);
    host.wait_drained("slow").await;
    // The guest rejects what it has reached.
    let letters = host.get("/v1/dead-letters?limit=100").await.expect(200).json();
    let letters = letters["dead_letters"].as_array().expect("a list");
    let reached = letters.iter().filter(|letter| letter["reason"] == "reached: 200 there");
    assert_eq!((letters.len(), reached.count()), (12, 12), "{letters:?}");
}

/// A web server that takes its time for each answer.
async fn slow_server(delay: Duration) -> (String, AbortOnDropHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let serving = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                while stream.read(&mut [0; 4096]).await.is_ok_and(|bytes| bytes > 0) {
                    tokio::time::sleep(delay).await;
                    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nthere";
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (url, AbortOnDropHandle::new(serving))
}

/// By a socket of its own, a plugin waits in no call of the host's; that is an outage all the same.
#[tokio::test]
async fn a_peer_that_hangs_makes_no_dead_letters() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let peer = listener.local_addr().expect("it is bound");
    let plugin = guest("reaching").await.display().to_string();
    let host = Host::start(&format!(
        "return: waits\nwaits.plugin: {plugin}\nwaits.allow_connect: ['tcp://{peer}']\n\
         waits.limits.time: 1s\nwaits.delivery: {{max_backoff: 1s}}\n"
    ))
    .await;
    host.post("/v1/returns", &ret(&new_jid(), "web1", "x", json!(format!("tcp-read {peer}"))))
        .await
        .expect(202);
    until("some tries", async || {
        let entry = host.returner("waits").await;
        let tried = entry["failing"]["tries"].as_u64().unwrap_or(0) >= 2;
        if tried { Ok(()) } else { Err(entry.to_string()) }
    })
    .await;
    let letters = async || host.get("/v1/dead-letters").await.expect(200).json()["dead_letters"].clone();
    assert_eq!(letters().await, json!([]));
    let answering = AbortOnDropHandle::new(tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"x").await;
        }
    }));
    host.wait_drained("waits").await;
    assert_eq!(letters().await[0]["reason"], "reached: 1 bytes");
    drop(answering);
}

/// Two returners with one connection: each waits as long as its own limits say.
#[tokio::test]
async fn each_returner_has_its_own_bound_on_a_connection_that_they_share() {
    let mut server = Mariadb::start().await;
    let database = server.database().await;
    database.execute("CREATE TABLE trapping (jid VARCHAR(255), id VARCHAR(255), value TEXT)").await;
    let plugin = guest("trapping").await.display().to_string();
    let host = Host::start(&format!(
        "return: [audit, mysql]\naudit.plugin: {plugin}\naudit.connections: {{db: mysql}}\n{}\
         audit.limits.host_call: 1s\nmysql.limits.host_call: 4s\n",
        database.config()
    ))
    .await;
    host.store("/v1/returns", &returns(&new_jid())).await;
    server.pause();
    host.post("/v1/returns", &returns(&new_jid())).await.expect(202);
    for (name, bound) in [("audit", "within 1s"), ("mysql", "within 4s")] {
        until(bound, async || {
            let entry = host.returner(name).await;
            if entry["last_error"].to_string().contains(bound) { Ok(()) } else { Err(entry.to_string()) }
        })
        .await;
    }
    server.resume();
    host.wait_drained("audit").await;
    host.wait_drained("mysql").await;
}
