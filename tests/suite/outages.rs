//! Lanes that have failed for long, and whose servers are good again: they go on at once, and not
//! by the next try, which would be up to a minute away.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use returner_servers::{Host, Mariadb, Redis, guest, new_jid, ret, until, until_within};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

/// Far more tries than the backoff alone comes to within the patience of a test: from the tenth
/// on it waits half a minute on average.
const MANY: u64 = 25;

/// Longer than the server takes to come back.
const LONG: Duration = Duration::from_secs(20);

fn returns(jid: &str) -> Value {
    (0..10).map(|number| ret(jid, &format!("web{number}"), "test.ping", json!(true))).collect()
}

/// Waits until what is refused was tried so often that it would be left alone for long.
async fn wait_many_tries(host: &Host, name: &str) {
    until(&format!("`{name}` to try again and again"), async || {
        let entry = host.returner(name).await;
        if entry["failing"]["tries"].as_u64() > Some(MANY) { Ok(()) } else { Err(entry.to_string()) }
    })
    .await;
}

/// As after a failover: the server answers, and takes nothing.
#[tokio::test]
async fn a_mysql_that_is_read_only_is_asked_by_one_item_each_second() {
    let server = Mariadb::start().await;
    let database = server.database().await;
    let options = database.options_of_a_common_user().await;
    let config: String = options.iter().map(|(key, value)| format!("mysql.{key}: '{value}'\n")).collect();
    let host = Host::start(&format!("return: mysql\n{config}mysql.delivery.workers: 1\n")).await;
    let (before, meanwhile) = (new_jid(), new_jid());
    host.store("/v1/returns", &returns(&before)).await;
    database.execute("SET GLOBAL read_only = 1").await;
    host.post("/v1/returns", &returns(&meanwhile)).await.expect(202);
    wait_many_tries(&host, "mysql").await;
    let entry = host.returner("mysql").await;
    assert_eq!(entry["failing"]["next"], "store 1 return", "{entry}");
    assert!(entry["last_error"].to_string().contains("read-only"), "{entry}");
    // It is told now and then, and not each second.
    let told = host.log().matches("--read-only").count() as u64;
    assert!((1..MANY / 2).contains(&told), "{told} times");
    database.execute("SET GLOBAL read_only = 0").await;
    host.wait_drained("mysql").await;
    assert_eq!(database.count("salt_returns").await, 20);
    let query = "SELECT jid, COUNT(DISTINCT id) FROM salt_returns GROUP BY jid ORDER BY jid";
    let found: Vec<(String, i64)> = database.rows(query).await;
    assert_eq!(found, [(before, 10), (meanwhile, 10)]);
    assert_eq!(host.returner("mysql").await["dead"], 0);
}

/// It refuses each item on its own.
#[tokio::test]
async fn a_redis_without_room_is_asked_by_one_item_each_second() {
    let server = Redis::start().await;
    let database = server.database().await;
    let host = Host::start(&format!("return: redis\n{}", database.config())).await;
    host.store("/v1/returns", &returns(&new_jid())).await;
    database.ask::<()>(&["CONFIG", "SET", "maxmemory", "1"]).await;
    host.post("/v1/returns", &returns(&new_jid())).await.expect(202);
    wait_many_tries(&host, "redis").await;
    assert!(host.returner("redis").await["last_error"].to_string().contains("OOM"));
    database.ask::<()>(&["CONFIG", "SET", "maxmemory", "0"]).await;
    host.wait_drained("redis").await;
    assert_eq!(host.returner("redis").await["stored"], 20);
}

/// What a plugin sends there is for the plugin to send; whether somebody listens can be seen.
#[tokio::test]
async fn a_web_server_that_is_back_is_found_by_its_listening() {
    let socket = TcpSocket::new_v4().expect("a socket");
    // Nobody else gets the port meanwhile.
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
    let address = socket.local_addr().expect("an address");
    let plugin = guest("reaching").await.display().to_string();
    let host = Host::start(&format!(
        "return: hook\nhook.plugin: {plugin}\nhook.allow_http: ['http://{address}', 'http://127.0.0.1:9']\n"
    ))
    .await;
    let item = ret(&new_jid(), "web1", "x", json!(format!("hook http://{address}/")));
    host.post("/v1/returns", &item).await.expect(202);
    // With jitter, a long wait comes sooner or later.
    let next = until_within(Duration::from_secs(300), "a long wait", async || {
        let entry = host.returner("hook").await;
        let wait = Duration::from_millis(entry["failing"]["next_try_ms"].as_u64().unwrap_or(0));
        if wait > LONG { Ok(Instant::now() + wait) } else { Err(entry.to_string()) }
    })
    .await;
    let listener = socket.listen(16).expect("it listens");
    let serve = async {
        while let Ok((mut stream, _)) = listener.accept().await {
            // One that only looks sends nothing.
            if stream.read(&mut [0; 4096]).await.is_ok_and(|bytes| bytes > 0) {
                let _ = stream
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                    .await;
            }
        }
    };
    tokio::select! {
        () = serve => panic!("the server has ended"),
        () = host.wait_drained("hook") => {}
    }
    assert!(Instant::now() < next, "it waited for its next try");
    assert_eq!(host.returner("hook").await["stored"], 1);
}
