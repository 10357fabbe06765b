//! What a plugin reaches: what was granted and nothing else. A guest tries, and says what came
//! of it (`tests/guests/reaching`).

use std::path::Path;

use returner_servers::{
    Directory, Host, Mariadb, Mongodb, Redis, free_port, guest, new_jid, ret, returner, until,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::mpsc;

/// A host with the guest as its only returner of returns.
async fn host(config: &str) -> Host {
    let plugin = guest("reaching").await;
    Host::start(&format!("return: reaching\nreaching.plugin: {}\n{config}", plugin.display())).await
}

/// What came of a try.
async fn reach(host: &Host, wanted: &str) -> String {
    let jid = new_jid();
    host.post("/v1/returns", &ret(&jid, "m", "test.arg", json!(wanted))).await.expect(202);
    let mut said = String::new();
    until(&format!("`{wanted}` to be tried"), async || {
        let listed = host.get("/v1/dead-letters?limit=1000").await.expect(200).json();
        let letters = listed["dead_letters"].as_array().expect("a list");
        let ours =
            letters.iter().find(|letter| letter["title"].as_str().is_some_and(|title| title.contains(&jid)));
        match ours {
            Some(letter) => {
                said = letter["reason"].as_str().unwrap_or_default().to_owned();
                Ok(())
            }
            None => Err(Value::Array(letters.clone())),
        }
    })
    .await;
    said
}

#[track_caller]
fn assert_said(said: &str, wanted: &str, words: &str) {
    assert!(said.starts_with(words), "`{wanted}` was {said}");
}

#[tokio::test]
async fn nothing_is_granted_by_default() {
    let database = Mariadb::shared().await.database().await;
    let host = host(&format!("mysql.limits.time: 60s\n{}", database.config())).await;
    let secret = host.directory().join("returner.yaml").display().to_string();
    let target = host.directory().join("written").display().to_string();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    for wanted in [
        "other db",
        "other mysql",
        "redis GET x",
        "mongo saltReturns",
        "http http://127.0.0.1:1/",
        &format!("http http://{address}/"),
        &format!("wasi-http http://{address}/"),
        &format!("file {secret}"),
        "file /etc/passwd",
        "file ../../etc/passwd",
        &format!("write {target}"),
        "environment",
        "arguments",
        "stdin",
        &format!("tcp {address}"),
        "tcp example.com:80",
        "listen 127.0.0.1:0",
        &format!("udp {address}"),
    ] {
        assert_said(&reach(&host, wanted).await, wanted, "refused: ");
    }
    assert!(!Path::new(&target).exists());
    // The guest is told no more than that it may not; the operator is told what it wanted.
    for (wanted, expected) in [
        (format!("tcp {address}"), "use `tcp://`: `reaching.allow_connect` names no such peer"),
        ("tcp example.com:80".to_owned(), "look up `example.com`: it is not in `reaching.allow_connect`"),
        (format!("udp {address}"), "use `udp://`: `reaching.allow_connect` names no such peer"),
    ] {
        reach(&host, &wanted).await;
        let refused = host.returner("reaching").await["warning"]["message"].clone();
        assert_eq!(refused, json!(format!("its plugin wants to {expected}")));
    }
}

#[tokio::test]
async fn of_a_database_one_table() {
    let database = Mariadb::shared().await.database().await;
    database
        .execute("CREATE TABLE audit (a INT); CREATE TABLE secrets (a INT); INSERT INTO secrets VALUES (1)")
        .await;
    let config = "reaching.connections: {db: {connection: mysql, tables: {audit: [insert, select]}}}\n";
    let host = host(&format!("{config}{}", database.config())).await;
    for (wanted, words) in [
        ("execute INSERT INTO audit (a) VALUES (1)", "reached: 1 rows"),
        ("query SELECT * FROM audit", "reached: "),
        ("query SELECT * FROM secrets", "refused: `reaching` is not granted `select` on the table `secrets`"),
        ("query SELECT a FROM audit UNION SELECT a FROM secrets", "refused: "),
        ("query SELECT a FROM audit END UNION SELECT a FROM secrets", "refused: "),
        // What overflows a guest's stack would end the host.
        (&format!("query SELECT 1{} FROM audit", "+1".repeat(49_000)), "refused: "),
        (&format!("query SELECT 1 FROM audit{}", " JOIN audit".repeat(400)), "refused: "),
        // What takes twice the time for each level would keep a thread for ever.
        (&format!("query SELECT {}a{} FROM audit", "a.trim(".repeat(40), ")".repeat(40)), "refused: "),
        (&format!("query SELECT {}a{} FROM audit", "a.floor(".repeat(15), ")".repeat(15)), "refused: "),
        ("query SELECT total(a) FROM audit", "refused: "),
        ("execute DELETE FROM audit", "refused: "),
        ("execute DROP TABLE secrets", "refused: "),
        ("query SELECT * FROM mysql.user", "refused: "),
        ("query SELECT /*! a FROM secrets */", "refused: "),
        // What the server does not run, and what it takes for another word than the parser.
        ("query SELECT a FROM /*!99999 (SELECT 1) AS */ secrets", "refused: "),
        ("query SELECT a OVERLAPS FROM secrets", "refused: "),
        ("query SELECT UNIQUE * FROM secrets", "refused: "),
        ("query SELECT LOAD_FILE('/etc/passwd')", "refused: "),
        ("execute SET GLOBAL general_log = 1", "refused: "),
    ] {
        assert_said(&reach(&host, wanted).await, wanted, words);
    }
    assert_eq!(database.count("secrets").await, 1);
}

#[tokio::test]
async fn of_redis_and_mongodb_some_keys_and_one_collection() {
    let redis = Redis::shared().await.database().await;
    let mongo = Mongodb::shared().await.database();
    let config = "reaching.connections:\n  cache: {connection: redis, commands: [set, get], keys: ['audit:*']}\n  docs: {connection: mongo, collections: {audit: [find, update]}}\n";
    let host = host(&format!("{config}{}{}", redis.config(), mongo.config())).await;
    for (wanted, words) in [
        ("redis SET audit:1 x", "reached: "),
        ("redis SET other x", "refused: `reaching` is not granted `SET` on the key `other`"),
        ("redis DEL audit:1", "refused: "),
        ("redis FLUSHALL", "refused: "),
        ("redis CONFIG GET *", "refused: "),
        ("redis EVAL x 0", "refused: "),
        ("mongo-update audit", "reached: 0 errors"),
        ("mongo-upsert audit", "refused: `reaching` is not granted `insert` on the collection `audit`"),
        ("mongo audit", "reached: 0 found"),
        ("mongo saltReturns", "refused: `reaching` is not granted `find` on the collection `saltReturns`"),
    ] {
        assert_said(&reach(&host, wanted).await, wanted, words);
    }
    assert_eq!(redis.keys().await, ["audit:1"]);
}

/// The host's own user may change the server, and see its password; that is not a plugin's.
#[tokio::test]
async fn the_server_itself_is_nobodys() {
    let redis = Redis::shared().await.database().await;
    let host = host(&format!("reaching.connections: {{cache: redis}}\n{}", redis.config())).await;
    for (wanted, words) in [
        ("redis SET anything x", "reached: "),
        ("redis config GET requirepass", "refused: the command `CONFIG` is not for plugins"),
        ("redis ACL LIST", "refused: "),
        ("redis MIGRATE 127.0.0.1 1 anything 0 100", "refused: "),
        ("redis REPLICAOF NO ONE", "refused: "),
        ("redis SAVE", "refused: "),
        ("redis CLIENT KILL TYPE normal", "refused: the command `CLIENT KILL` is not for plugins"),
        ("redis CLIENT GETNAME", "reached: "),
        ("redis SCRIPT FLUSH", "refused: "),
        ("redis SWAPDB 0 1", "refused: "),
        ("redis SELECT 1", "refused: "),
        ("redis FLUSHALL", "refused: "),
    ] {
        assert_said(&reach(&host, wanted).await, wanted, words);
    }
}

/// The host asks for the server's version, which a user with few rights may not.
#[tokio::test]
async fn a_user_of_redis_needs_no_more_than_the_commands_of_the_returner() {
    let server = Redis::start().await;
    let database = server.database().await;
    let rules = ["on", ">pw", "~*", "&*", "+@all", "-info", "-@admin", "-@dangerous"];
    let _: () = database.ask(&[&["ACL", "SETUSER", "salt"], &rules[..]].concat()).await;
    let config = format!("return: redis\n{}redis.user: salt\nredis.password: pw\n", database.config());
    let host = Host::start(&config).await;
    let jid = new_jid();
    host.store("/v1/returns", &ret(&jid, "web1", "test.ping", json!(true))).await;
    let checked = returner(host.directory(), &["check", "--connect", "--config", "returner.yaml"]);
    assert!(checked.expect(0).stdout.contains("unknown"), "{}", checked.stdout);
    host.reload(&format!("{config}redis.limits.time: 61s\n")).await.expect(200);
    let returns = host.get(&format!("/v1/jobs/{jid}/returns?returner=redis")).await.expect(200).json();
    assert_eq!(returns["returns"][0]["minion"], "web1", "{returns}");
}

/// Answers each request with a redirect to another place.
async fn redirecting(to: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let head = format!(
                "HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 5\r\nConnection: close\r\n\r\n"
            );
            let _ = stream.write_all(format!("{head}there").as_bytes()).await;
        }
    });
    format!("http://{address}")
}

#[tokio::test]
async fn of_the_network_the_listed_origins() {
    let secret = redirecting("http://nowhere.invalid/".to_owned()).await;
    let open = redirecting(format!("{secret}/secret")).await;
    let port = free_port();
    let host = host(&format!("reaching.allow_http: ['{open}', 'http://127.0.0.1:{port}']\n")).await;
    let local = open.replace("127.0.0.1", "localhost");
    for (wanted, words) in [
        // A redirect is an answer, and not followed.
        (format!("http {open}/hook"), "reached: 302 there"),
        (format!("http {secret}/"), "refused: `http://127.0.0.1:"),
        (format!("wasi-http {open}/hook"), "reached: 302 there"),
        (format!("wasi-http {secret}/"), "refused: ErrorCode::HttpRequestDenied"),
        (format!("wasi-http {local}/"), "refused: ErrorCode::HttpRequestDenied"),
        (format!("http {local}/"), "refused: `http://localhost:"),
        (format!("http http://127.0.0.1:{port}/"), "refused: "),
        // The listed origins are for this function, not for sockets of one's own.
        (format!("tcp {}", open.replace("http://", "")), "refused: "),
    ] {
        assert_said(&reach(&host, &wanted).await, &wanted, words);
    }
}

/// A web server that tells what it was sent, in lower case.
async fn hearing() -> (String, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let (tell, heard) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let length = stream.read(&mut request).await.unwrap_or(0);
            let _ = tell.send(String::from_utf8_lossy(&request[..length]).to_lowercase());
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nheard";
            let _ = stream.write_all(answer).await;
        }
    });
    (format!("http://{address}"), heard)
}

/// What the host adds to its requests for it, and to none for others.
#[tokio::test]
async fn of_a_secret_only_that_it_is_sent() {
    let ((with, mut heard), (without, mut heard_without)) = (hearing().await, hearing().await);
    let directory = Directory::new("headers");
    directory.write("token", "Bearer one\n");
    let plugin = guest("reaching").await;
    let lines = format!(
        "return: reaching\nreaching.plugin: {}\nreaching.allow_http:\n  - {without}\n  \
         - {{origin: '{with}', headers: {{Authorization: {{file: token}}}}}}\n",
        plugin.display()
    );
    let host = Host::start_in(directory, &lines).await;
    for way in ["http", "wasi-http"] {
        let wanted = format!("{way} {with}/hook");
        assert_said(&reach(&host, &wanted).await, &wanted, "reached: 200 heard");
        let request = heard.recv().await.expect("a request");
        assert!(request.contains("\r\nauthorization: bearer one\r\n"), "{request}");
        reach(&host, &format!("{way} {without}/hook")).await;
        let request = heard_without.recv().await.expect("a request");
        assert!(!request.contains("authorization"), "{request}");
    }
    // The file is watched.
    std::fs::write(host.directory().join("token"), "Bearer two").expect("a test's file");
    until("the new secret to be sent", async || {
        reach(&host, &format!("http {with}/hook")).await;
        let request = heard.recv().await.expect("a request");
        if request.contains("authorization: bearer two") { Ok(()) } else { Err(request) }
    })
    .await;
    let entry = host.returner("reaching").await;
    assert_eq!(entry["grants"]["http_headers"], json!({ with: ["authorization"] }), "{entry}");
    assert!(!entry.to_string().contains("Bearer") && !host.log().contains("Bearer"));
}

/// A web server that answers each request with all of it.
async fn repeating() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let length = stream.read(&mut request).await.unwrap_or(0);
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
            let _ = stream.write_all(head.as_bytes()).await;
            let _ = stream.write_all(&request[..length]).await;
        }
    });
    format!("http://{address}")
}

#[tokio::test]
async fn an_answer_that_repeats_a_secret_is_without_it() {
    let origin = repeating().await;
    let headers = "{Authorization: 'Bearer s3cret-token'}";
    let lines = format!("reaching.allow_http: [{{origin: '{origin}', headers: {headers}}}]\n");
    let host = host(&lines).await;
    for way in ["http", "wasi-http"] {
        let wanted = format!("{way} {origin}/hook");
        let said = reach(&host, &wanted).await;
        assert_said(&said, &wanted, "reached: 200 GET /hook");
        assert!(said.contains("authorization: [REDACTED]") && !said.contains("s3cret"), "{said}");
    }
}

#[tokio::test]
async fn of_the_network_the_listed_peers() {
    let listener = async || {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        (listener, port)
    };
    let ((_listed, one), (_named, two), (_other, three)) =
        (listener().await, listener().await, listener().await);
    let datagrams = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
    let udp = datagrams.local_addr().expect("an address").port();
    let peers = format!("['tcp://127.0.0.1:{one}', 'tcp://localhost:{two}', 'udp://127.0.0.1:{udp}']");
    let host = host(&format!("reaching.allow_connect: {peers}\n")).await;
    for (wanted, words) in [
        (format!("tcp 127.0.0.1:{one}"), "reached: connected"),
        (format!("tcp localhost:{two}"), "reached: connected"),
        (format!("tcp 127.0.0.1:{two}"), "reached: connected"),
        (format!("tcp 127.0.0.1:{three}"), "refused: "),
        // By the name, and yet the address that is listed.
        (format!("tcp localhost:{one}"), "reached: connected"),
        (format!("tcp localhost:{three}"), "refused: "),
        ("tcp example.com:25".to_owned(), "refused: "),
        (format!("udp 127.0.0.1:{udp}"), "reached: sent"),
        (format!("udp 127.0.0.1:{one}"), "refused: "),
        // Listening is never granted.
        ("listen 127.0.0.1:0".to_owned(), "refused: "),
        (format!("http http://127.0.0.1:{one}/"), "refused: "),
    ] {
        assert_said(&reach(&host, &wanted).await, &wanted, words);
    }
    reach(&host, &format!("tcp 127.0.0.1:{three}")).await;
    assert_eq!(
        host.returner("reaching").await["warning"]["message"],
        format!(
            "its plugin wants to connect to `tcp://127.0.0.1:{three}`: it is not in `reaching.allow_connect`"
        ),
    );
    let mut byte = [0; 8];
    assert_eq!(datagrams.recv(&mut byte).await.ok(), Some(1));
}

/// A socket is a file descriptor of the host, and of those it has not many.
#[tokio::test]
async fn a_plugin_holds_only_so_many_sockets() {
    let host = host("reaching.allow_connect: ['udp://127.0.0.1:9']\n").await;
    assert_said(&reach(&host, "sockets 64").await, "sockets 64", "reached: 64 at once");
    for wanted in ["sockets 65", "sockets 100000"] {
        assert_said(&reach(&host, wanted).await, wanted, "refused: ");
    }
    // What it held is given back, and others are served.
    assert_said(&reach(&host, "sockets 64").await, "sockets 64", "reached: 64 at once");
    host.get("/healthz").await.expect(200);
}

/// Each of these took a second of the host's, or more of its threads than there are, or ended one.
#[tokio::test]
async fn no_call_of_the_host_does_more_than_it_is_asked_for_in_bounds() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let origin = format!("http://{}", listener.local_addr().expect("an address"));
    let peers = "reaching.allow_connect: ['tcp://localhost:9']\n";
    let host = host(&format!("reaching.allow_http: ['{origin}']\n{peers}")).await;
    let wanted = format!("headers {origin}/");
    assert_said(&reach(&host, &wanted).await, &wanted, "refused: 40000 headers are more than 256");
    assert_said(&reach(&host, "random 65536").await, "random 65536", "reached: 65536 bytes");
    let said = reach(&host, "random 67108864").await;
    assert!(said.starts_with("it was stopped: "), "{said}");
    let look_ups = "look-ups 20000 localhost";
    assert_said(&reach(&host, look_ups).await, look_ups, "reached: asked");
    assert!(!host.log().contains("panicked at"), "the host panicked");
    let threads = std::fs::read_dir(format!("/proc/{}/task", host.id())).expect("it runs").count();
    assert!(threads < 100, "{threads} threads");
}

/// What it writes into requests that it never sends is the host's memory, and no grant is asked for.
#[tokio::test]
async fn requests_that_are_never_sent_hold_little() {
    let host = host("").await;
    let said = reach(&host, "hold 300").await;
    assert_said(&said, "hold 300", "reached: ");
    let held = said.strip_prefix("reached: ").and_then(|said| said.split_once(" KiB and "));
    let (bytes, words) = held.unwrap_or_else(|| panic!("{said}"));
    assert!(bytes.parse::<usize>().is_ok_and(|kib| kib <= 20 << 10), "{said}");
    assert_eq!(words, "0 long words", "{said}");
}

/// A reply of Redis is read whole by the library that reads it, unless it is stopped.
#[tokio::test]
async fn more_than_the_host_is_to_hold_is_not_read() {
    let redis = Redis::shared().await.database().await;
    let host = host(&format!(
        "reaching.connections: {{cache: redis}}\nreaching.limits: {{answer: 8MiB}}\n{}",
        redis.config()
    ))
    .await;
    redis.ask::<()>(&["SET", "large", &"x".repeat(4 << 20)]).await;
    assert_said(&reach(&host, "redis-many 1 large").await, "one", "reached: 1 replies");
    // Two gigabytes.
    let said = reach(&host, "redis-many 500 large").await;
    assert!(said.contains("the answer is more than 8.0 MiB (`limits.answer`)"), "{said}");
    let status = std::fs::read_to_string(format!("/proc/{}/status", host.id())).expect("it runs");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("what it used at most");
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().expect("a number");
    assert!(peak < 500_000, "it had {peak} kB");
    assert_said(&reach(&host, "redis GET large").await, "one", "reached: a reply");
}
