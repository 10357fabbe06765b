//! The configuration of a running host changes: what starts it, what is taken, what is
//! refused, and that nothing is lost or stored twice meanwhile.

mod going_back;
mod under_load;

use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use reqwest::Method;
use returner_servers::{Authority, Host, Mariadb, Redis, Server, SqliteDatabase};
use returner_servers::{free_port, new_jid, ret, returner, until};
use serde_json::{Value, json};

/// What a reload says, each as one text.
fn changes(answer: &Value) -> Vec<String> {
    let all = answer["changes"].as_array().expect("changes");
    let text = |change: &Value| {
        let part = |name: &str| change[name].as_str().unwrap_or_default().to_owned();
        let mark = if change["widens"] == true { " (widens)" } else { "" };
        format!("{}: {}{mark}", part("subject"), part("change"))
    };
    all.iter().map(text).collect()
}

async fn metric(host: &Host, name: &str) -> String {
    let text = host.get("/metrics").await.expect(200).text.clone();
    let line = text.lines().find(|line| line.starts_with(name));
    line.and_then(|line| line.rsplit(' ').next()).unwrap_or_else(|| panic!("no {name}")).to_owned()
}

async fn runs(host: &Host, name: &str) -> bool {
    let all = host.get("/v1/returners").await.expect(200).json();
    all["returners"].as_array().is_some_and(|all| all.iter().any(|entry| entry["name"] == name))
}

#[tokio::test]
async fn a_returner_is_added_and_one_that_stays_is_left_alone() {
    let (first, second) = (SqliteDatabase::new(), Redis::shared().await.database().await);
    let host = Host::start(&first.config()).await;
    let jid = new_jid();
    host.store("/v1/returns", &ret(&jid, "a", "test.ping", json!(true))).await;
    let both = format!("return: [sqlite3, redis]\n{}{}", first.config(), second.config());
    let answer = host.reload(&both).await.expect(200).json();
    assert_eq!(answer["applied"], true);
    assert_eq!(
        changes(&answer),
        [
            "`return`: was sqlite3, becomes sqlite3, redis",
            "returner `redis`: added, of the bundled `redis`",
            "returner `redis`: granted the connection `redis` as `db`, of it DEL, EXPIRE, GET, HGET, HGETALL, HSET, SADD, SCAN, SET, SMEMBERS, ZADD, ZRANGEBYSCORE, ZREM, ZREMRANGEBYSCORE on the keys * (widens)",
        ]
    );
    host.store("/v1/returns", &ret(&jid, "b", "test.ping", json!(true))).await;
    assert_eq!(first.count("salt_returns").await, 2);
    assert_eq!(second.ask::<Vec<String>>(&["HKEYS", &format!("ret:{jid}")]).await, ["b"]);
    let sqlite = host.returner("sqlite3").await;
    assert_eq!((&sqlite["stored"], &sqlite["retried"]), (&json!(2), &json!(0)), "{sqlite}");
    let again = host.reload(&both).await.expect(200).json();
    assert_eq!((&again["applied"], changes(&again).len()), (&json!(false), 0));
    assert_eq!(metric(&host, "returner_configuration_reloads_total{result=\"applied\"}").await, "1");
    assert_eq!(metric(&host, "returner_configuration_reloads_total{result=\"unchanged\"}").await, "1");
}

/// A server that accepts and says nothing keeps a reload waiting, and nobody else.
#[tokio::test]
async fn what_a_return_asks_for_does_not_wait_for_a_version_that_is_tried() {
    let database = SqliteDatabase::new();
    let host = Host::start(&format!("return: sqlite3\n{}", database.config())).await;
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = silent.local_addr().expect("it is bound").port();
    let next =
        format!("return: [sqlite3, redis]\nredis.host: 127.0.0.1\nredis.port: {port}\n{}", database.config());
    let mut reload = Box::pin(host.reload(&next));
    let connection = tokio::select! {
        accepted = silent.accept() => accepted.expect("a connection").0,
        answer = &mut reload => panic!("{}", answer.text),
    };
    let mut item = ret(&new_jid(), "a", "test.ping", json!(true));
    item["ret_kwargs"] = json!({"timeout": 7});
    tokio::select! {
        _ = host.store("/v1/returns", &item) => {}
        answer = &mut reload => panic!("the reload ended first: {}", answer.text),
    }
    assert_eq!(database.count("salt_returns").await, 1);
    drop((connection, silent));
    assert!(reload.await.text.contains("redis"));
    assert!(!runs(&host, "redis").await);
}

/// Whoever wants to look first can: nothing is taken that nobody asked for.
#[tokio::test]
async fn a_file_that_is_not_watched_is_taken_when_that_is_asked_for() {
    let database = SqliteDatabase::new();
    let host = Host::start(&format!("host.watch: false\n{}", database.config())).await;
    host.rewrite(&format!("host.watch: false\nsqlite3.delivery: {{batch: 5}}\n{}", database.config()));
    let look = async || {
        let answer = host.send(Method::POST, "/v1/reload?dry_run=true", "").await.expect(200).json();
        changes(&answer).len()
    };
    // Four times as long as one that is watched takes to be seen.
    let end = Instant::now() + Duration::from_secs(4);
    while Instant::now() < end {
        assert_eq!(look().await, 1, "it still differs from what runs");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let answer = host.send(Method::POST, "/v1/reload", "").await.expect(200).json();
    assert_eq!((&answer["applied"], look().await), (&json!(true), 0));
}

#[tokio::test]
async fn a_bad_one_is_refused_named_and_shown_until_a_good_one_comes() {
    let database = SqliteDatabase::new();
    let good = database.config();
    let host = Host::start(&good).await;
    let port = free_port();
    for (bad, words) in [
        ("return: [", "returner.yaml:"),
        ("return: sqlite3\nmysql.hots: x\n", "returner.yaml:2: unknown key `mysql.hots`"),
        ("return: audit\naudit.plugin: audit.wasm\n", "returner.yaml:2: `audit.plugin` names the file"),
        ("return: sqlite3\nhost.max_journal: 1GiB\n", "`host.max_journal` cannot change"),
        (&format!("return: [sqlite3, redis]\nredis: {{host: 127.0.0.1, port: {port}}}\n"), "`redis`: "),
    ] {
        host.reload(&format!("{bad}{good}")).await.problem_saying(422, words);
        let shown = host.get("/v1/returners").await.expect(200).json();
        let message = shown["configuration"]["error"]["message"].as_str().unwrap_or_default();
        assert!(message.contains(words), "{shown}");
        assert_eq!(metric(&host, "returner_configuration_good").await, "0");
        // The one before it runs on.
        host.store("/v1/returns", &ret(&new_jid(), "a", "test.ping", json!(true))).await;
    }
    let status = returner(host.directory(), &["status", "--url", &host.url("")]);
    assert!(status.expect(0).stdout.contains("the configuration was refused"), "{}", status.stdout);
    host.reload(&good).await.expect(200);
    assert_eq!(host.get("/v1/returners").await.expect(200).json()["configuration"]["error"], Value::Null);
    assert_eq!(metric(&host, "returner_configuration_good").await, "1");
    assert_eq!(database.count("salt_returns").await, 5);
}

#[tokio::test]
async fn a_dry_run_says_what_would_change_and_changes_nothing() {
    let database = SqliteDatabase::new();
    // It must not see the file by itself.
    let host = Host::start(&format!("host.watch: false\n{}", database.config())).await;
    let second = Redis::shared().await.database().await;
    host.rewrite(&format!("host.watch: false\nreturn: sqlite3\n{}{}", database.config(), second.config()));
    let run = returner(host.directory(), &["reload", "--dry-run", "--url", &host.url("")]);
    let stdout = &run.expect(0).stdout;
    assert!(stdout.contains("[widens what it can reach]") && stdout.contains("not applied"), "{stdout}");
    let running = host.get("/v1/returners").await.expect(200).json();
    assert_eq!(running["returners"].as_array().map(Vec::len), Some(1), "{running}");
    // What is likely a slip is told, too.
    assert!(stdout.contains("warning: `redis` is configured, and used only for what names it"), "{stdout}");
    host.rewrite(&format!("return: [{}", database.config()));
    let run = returner(host.directory(), &["reload", "--dry-run", "--url", &host.url("")]);
    assert!(run.expect(4).stderr.contains("returner.yaml:"), "{}", run.stderr);
}

#[tokio::test]
async fn every_way_of_changing_it_is_seen() {
    let database = SqliteDatabase::new();
    let host = Host::start(&format!("{}include: more/*.yaml\n", database.config())).await;
    let path = |name: &str| host.directory().join(name);
    let write = |name: &str, text: String| fs::write(path(name), text).expect("a test's file");
    let url = Redis::shared().await.database().await;
    let limit = |seconds: u32| format!("sqlite3.limits.time: {seconds}s\n");
    let time = async |wanted: u64| {
        until(&format!("{wanted} s to be the limit"), async || {
            let limits = host.returner("sqlite3").await["limits"]["time_ms"].clone();
            if limits == wanted * 1000 { Ok(()) } else { Err(limits) }
        })
        .await;
    };
    // Truncated and written.
    let own = fs::read_to_string(path("returner.yaml")).expect("a test's file");
    write("returner.yaml", format!("{own}{}", limit(11)));
    time(11).await;
    // Renamed over.
    host.rewrite(&format!("{}include: more/*.yaml\n{}", database.config(), limit(12)));
    time(12).await;
    // A file that is included from now on, through a link that is swapped.
    for (directory, seconds) in [("one", 13), ("two", 14)] {
        fs::create_dir(path(directory)).expect("a test's directory");
        write(&format!("{directory}/limits.yaml"), limit(seconds));
    }
    fs::create_dir(path("more")).expect("a test's directory");
    symlink("one", path("data-1")).expect("a link");
    fs::rename(path("data-1"), path("current")).expect("a link");
    symlink("../current/limits.yaml", path("more/limits.yaml")).expect("a link");
    time(13).await;
    symlink("two", path("data-2")).expect("a link");
    fs::rename(path("data-2"), path("current")).expect("a link");
    time(14).await;
    // SIGHUP, about what cannot be seen: another returner, and a socket.
    host.rewrite(&format!(
        "return: [sqlite3, redis]\n{}{}host.socket: {}\n",
        database.config(),
        url.config(),
        path("host.sock").display()
    ));
    host.hangup();
    until("the socket", async || fs::metadata(path("host.sock")).map(drop)).await;
    let unix = format!("unix:{}", path("host.sock").display());
    assert!(returner(host.directory(), &["status", "--url", &unix]).expect(0).stdout.contains("redis"));
    // An empty file is what a broken-off editor leaves.
    fs::write(path("returner.yaml"), "").expect("a test's file");
    until("the refusal", async || {
        let shown = host.get("/v1/returners").await.expect(200).json();
        let message = shown["configuration"]["error"]["message"].as_str().unwrap_or_default().to_owned();
        if message.contains("is empty") { Ok(()) } else { Err(shown) }
    })
    .await;
    assert!(runs(&host, "redis").await);
}

/// What the host follows by itself opens it to nobody: not a file that an editor has emptied, and
/// not one that is gone. Whoever means it says so.
#[tokio::test]
async fn a_file_that_changed_does_not_open_the_host() {
    let directory = returner_servers::Directory::new("opened");
    fs::create_dir(directory.path().join("returner.d")).expect("a directory");
    // The token is `tok`.
    let digest = "1a7674eb4ee78df7e1ac439a93c3fa8e3c945784d4dec9fd8e3011738b2f1d62";
    let line = format!("host.tokens.ops: {{sha256: {digest}, role: admin}}\n");
    let tokens = directory.write("returner.d/tokens.yaml", &line);
    let host = Host::start_in(directory, "host.socket: host.sock\n").await;
    host.get("/v1/returners").await.problem(401);
    let unix = format!("unix:{}", host.directory().join("host.sock").display());
    let refused = async |part: &str| {
        until("the refusal", async || {
            let shown = returner(host.directory(), &["status", "--url", &unix, "--json"]);
            if shown.stdout.contains(part) { Ok(()) } else { Err(shown.stdout) }
        })
        .await;
        host.get("/v1/returners").await.problem(401);
    };
    fs::write(&tokens, "").expect("a test's file");
    refused("tokens.yaml` of the configuration is empty now").await;
    fs::write(&tokens, "# none\n").expect("a test's file");
    refused("there are no `host.tokens`").await;
    fs::remove_file(&tokens).expect("a test's file");
    fs::write(host.directory().join("returner.d/more.yaml"), "\n").expect("a test's file");
    let looks = returner(host.directory(), &["reload", "--url", &unix, "--dry-run"]);
    looks.expect(0);
    host.get("/v1/returners").await.problem(401);
    returner(host.directory(), &["reload", "--url", &unix]).expect(0);
    host.get("/v1/returners").await.expect(200);
}

#[tokio::test]
async fn a_secret_that_is_rotated_lets_a_waiting_lane_go_on() {
    let server = Mariadb::start().await;
    let database = server.database().await;
    let name = database.name().to_owned();
    database.execute("CREATE USER rotated@'127.0.0.1' IDENTIFIED BY 'first'").await;
    database.execute(&format!("GRANT ALL ON `{name}`.* TO rotated@'127.0.0.1'")).await;
    let directory = returner_servers::Directory::new("rotated");
    let secret = directory.write("secret", "first\n");
    let options = database.options();
    let port = options.iter().find(|(key, _)| *key == "port").map(|(_, port)| port.clone());
    let config = format!(
        "return: mysql\nmysql: {{host: 127.0.0.1, port: {}, user: rotated, db: {name}, pass: {{file: {}}}}}\n",
        port.unwrap_or_default(),
        secret.display()
    );
    let host = Host::start_in(directory, &config).await;
    host.store("/v1/returns", &ret(&new_jid(), "a", "test.ping", json!(true))).await;
    database.execute("ALTER USER rotated@'127.0.0.1' IDENTIFIED BY 'second'").await;
    // Connections that are open stay: end them.
    let open: Vec<(i64,)> =
        database.rows("SELECT id FROM information_schema.processlist WHERE user = 'rotated'").await;
    for (id,) in open {
        let _ = database.try_execute(&format!("KILL {id}")).await;
    }
    let jid = new_jid();
    host.post("/v1/returns", &ret(&jid, "b", "test.ping", json!(true))).await.expect(202);
    until("the lane to fail", async || {
        let entry = host.returner("mysql").await;
        if entry["failing"].is_null() { Err(entry) } else { Ok(()) }
    })
    .await;
    fs::write(&secret, "second\n").expect("a test's file");
    host.wait_drained("mysql").await;
    assert_eq!(database.count(&format!("salt_returns WHERE jid = '{jid}'")).await, 1);
    assert!(!host.log().contains("second") && !host.log().contains("'first'"), "{}", host.log());
}

#[tokio::test]
async fn a_server_that_is_away_does_not_hinder_other_changes() {
    let mut server = Redis::start().await;
    let database = server.database().await;
    let config = format!("return: redis\n{}", database.config());
    let host = Host::start(&config).await;
    server.kill();
    let jid = new_jid();
    host.post("/v1/returns", &ret(&jid, "a", "test.ping", json!(true))).await.expect(202);
    let changed = host.reload(&format!("{config}redis.delivery.batch: 7\n")).await.expect(200).json();
    assert_eq!(changes(&changed), ["returner `redis`: `delivery.batch` was 1024, becomes 7"]);
    assert_eq!(host.returner("redis").await["depth"], 1);
    server.restart().await;
    host.wait_drained("redis").await;
    assert_eq!(database.ask::<Vec<String>>(&["HKEYS", &format!("ret:{jid}")]).await, ["a"]);
}

#[tokio::test]
async fn what_a_returner_that_is_gone_has_is_kept_until_it_is_back_or_dropped() {
    let mut server = Redis::start().await;
    let (database, sqlite) = (server.database().await, SqliteDatabase::new());
    let both = format!("return: [sqlite3, redis]\n{}{}", sqlite.config(), database.config());
    let host = Host::start(&both).await;
    server.kill();
    let (first, second) = (new_jid(), new_jid());
    host.post("/v1/returns", &ret(&first, "a", "test.ping", json!(true))).await.expect(202);
    let alone = format!("return: sqlite3\n{}", sqlite.config());
    host.reload(&alone).await.expect(200);
    assert!(!runs(&host, "redis").await);
    let orphaned = async || host.get("/v1/returners").await.expect(200).json()["orphaned"].clone();
    assert_eq!(orphaned().await, json!([{"name": "redis", "depth": 1, "dead": 0}]));
    let status = returner(host.directory(), &["status", "--url", &host.url("")]);
    assert!(status.expect(0).stdout.contains("redis: orphaned"), "{}", status.stdout);
    host.store("/v1/returns", &ret(&second, "a", "test.ping", json!(true))).await;
    // It is back, and so is its server.
    server.restart().await;
    host.reload(&both).await.expect(200);
    host.wait_drained("redis").await;
    assert_eq!(database.keys().await.iter().filter(|key| key.starts_with("ret:")).count(), 1);
    assert_eq!(orphaned().await, json!([]));

    server.kill();
    let third = new_jid();
    host.post("/v1/returns", &ret(&third, "a", "test.ping", json!(true))).await.expect(202);
    let drop = |name: &str| returner(host.directory(), &["lanes", "drop", name, "--url", &host.url("")]);
    assert!(drop("redis").expect(4).stderr.contains("is in the configuration"));
    host.reload(&alone).await.expect(200);
    assert!(drop("redi").expect(4).stderr.contains("`redis`"));
    let dropped = drop("redis");
    assert!(dropped.expect(0).stdout.contains("`redis`: 1 item, 0 dead letters"), "{}", dropped.stdout);
    assert_eq!(orphaned().await, json!([]));
    server.restart().await;
    host.reload(&both).await.expect(200);
    // What was dropped can be sent again, and is stored where it was dropped only.
    let again = host.store("/v1/returns", &ret(&third, "a", "test.ping", json!(true))).await;
    assert_eq!(again["accepted"], 1);
    assert_eq!(sqlite.count(&format!("salt_returns WHERE jid = '{third}'")).await, 1);
    assert_eq!(database.ask::<Vec<String>>(&["HKEYS", &format!("ret:{third}")]).await, ["a"]);
}

#[tokio::test]
async fn it_listens_where_it_is_told_to_now() {
    let database = SqliteDatabase::new();
    let host = Host::start(&database.config()).await;
    let port = free_port();
    let text = fs::read_to_string(host.directory().join("returner.yaml")).expect("a test's file");
    let old = host.url("").replace("http://", "");
    fs::write(host.directory().join("returner.yaml"), text.replace(&old, &format!("127.0.0.1:{port}")))
        .expect("a test's file");
    let status = async |url: &str| {
        let answer = reqwest::get(format!("{url}/readyz")).await;
        answer.map(|answer| answer.status().as_u16()).map_err(|error| error.to_string())
    };
    until("the new address", async || status(&format!("http://127.0.0.1:{port}")).await).await;
    until("the old one to be left", async || match status(&host.url("")).await {
        Err(_) => Ok(()),
        Ok(status) => Err(status),
    })
    .await;
}

/// From this machine alone to all addresses and back, on the port that clients know. Who comes in at
/// the moment in between comes again; no other process gets the port.
#[tokio::test]
async fn the_same_port_can_be_had_at_other_addresses() {
    let database = SqliteDatabase::new();
    let open = "host.tokens.any: {sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08, role: read}\n";
    // Commands ask by the socket, where nobody has to show a token.
    let host = Host::start(&format!("{open}host.socket: r.sock\n{}", database.config())).await;
    let own = host.url("").replace("http://", "");
    let (_, port) = own.rsplit_once(':').expect("a port");
    let port: u16 = port.parse().expect("a port");
    let text = fs::read_to_string(host.directory().join("returner.yaml")).expect("a test's file");
    for address in ["0.0.0.0", "127.0.0.1"].repeat(10) {
        let there = format!("{address}:{port}");
        fs::write(host.directory().join("returner.yaml"), text.replace(&own, &there)).expect("a test's file");
        returner(host.directory(), &["reload", "--config", "returner.yaml"]).expect(0);
        // On a connection of its own.
        let asked = reqwest::Client::new().get(host.url("/healthz")).send().await.expect("it is back");
        assert_eq!(asked.status(), 200);
        let log = host.log();
        let last = log.lines().rfind(|line| line.contains("listening on")).expect("it listens");
        assert!(last.ends_with(&format!("http://{there}")), "{last}");
        // Also if it says that it would share it.
        let other = tokio::net::TcpSocket::new_v4().expect("a socket");
        other.set_reuseport(true).expect("a socket");
        other.bind(there.parse().expect("an address")).expect_err("the port is the host's");
    }
}

/// With TLS from now on, or without, on the same listener.
#[tokio::test]
async fn a_command_knows_whether_there_is_tls_now() {
    let authority = Authority::new();
    let issued = authority.issue("server");
    let (database, ca) = (SqliteDatabase::new(), authority.ca().display().to_string());
    let host = Host::start(&database.config()).await;
    let file = host.directory().join("returner.yaml");
    let text = fs::read_to_string(&file).expect("a test's file");
    let tls = format!(
        "host.tls: {{certificate: {}, key: {}}}\n",
        issued.certificate.display(),
        issued.key.display()
    );
    let run = |arguments: &[&str]| {
        returner(host.directory(), &[arguments, &["--config", "returner.yaml", "--ca", &ca]].concat())
    };
    for lines in [format!("{text}{tls}"), text.clone(), format!("{text}{tls}")] {
        fs::write(&file, &lines).expect("a test's file");
        run(&["reload"]).expect(0);
        run(&["status"]).expect(0);
    }
}

/// Commands find the host where it listens, and not where its file says that it should.
#[tokio::test]
async fn a_command_finds_the_host_that_runs() {
    let database = SqliteDatabase::new();
    let host = Host::start(&database.config()).await;
    let file = host.directory().join("returner.yaml");
    let text = fs::read_to_string(&file).expect("a test's file");
    let own = host.url("").replace("http://", "");
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let taken = taken.local_addr().expect("it is bound");
    fs::write(&file, text.replace(&own, &taken.to_string())).expect("a test's file");
    let run = |arguments: &[&str]| {
        returner(host.directory(), &[arguments, &["--config", "returner.yaml"]].concat())
    };
    let refused = run(&["reload"]);
    assert!(refused.expect(4).stderr.contains("cannot listen on"), "{refused:?}");
    run(&["status"]).expect(0);
    // By its socket, once it has one: nobody has to show a token there.
    fs::write(&file, format!("{text}host.socket: r.sock\n")).expect("a test's file");
    run(&["reload"]).expect(0);
    let noted = fs::read_to_string(host.directory().join("data/listening")).expect("the host's own");
    assert!(noted.starts_with("unix:/") && noted.ends_with(&format!("/r.sock\nhttp://{own}\n")), "{noted}");
    fs::write(&file, &text).expect("a test's file");
    run(&["status"]).expect(0);
}

/// Whatever refuses a version says where, and what to do.
#[tokio::test]
async fn each_refusal_has_its_line_and_a_hint() {
    let database = SqliteDatabase::new();
    let host = Host::start(&format!("return: sqlite3\n{}", database.config())).await;
    let hostile = returner_servers::guest("hostile").await.display().to_string();
    fs::write(host.directory().join("no.pem"), "no PEM").expect("a test's file");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let taken = listener.local_addr().expect("it is bound");
    let (port, other) = (free_port(), "host.listen: 127.0.0.1:");
    for (lines, line, words) in [
        (format!("return: redis\nredis.port: {port}\n"), 2, "the connection `redis`"),
        (
            format!("return: a\na.plugin: {hostile}\na.options: {{setup: trap}}\n"),
            2,
            "setup of `a` (hostile 0.1.0)",
        ),
        ("return: mysql\nmysql.ssl_ca: no.pem\n".to_owned(), 2, "no.pem"),
        ("return: sqlite3\nhost.socket: /nonexistent/s\n".to_owned(), 2, "cannot listen on"),
        ("return: sqlite3\nhost.socket: s\nhost.socket_owner: nobody-at-all\n".to_owned(), 3, "cannot give"),
        ("return: sqlite3\nhost.max_journal: 5GiB\n".to_owned(), 2, "cannot change while the host runs"),
    ] {
        let answer = host.reload(&lines).await;
        let place = format!("returner.yaml:{line}: ");
        for part in [words, &place, "\"hint\":\""] {
            assert!(
                answer.status == 422 && answer.text.contains(part),
                "nothing of `{part}`: {}",
                answer.text
            );
        }
    }
    // With what the plugin printed before it was stopped.
    let begins_not = format!("return: a\na.plugin: {hostile}\na.options: {{setup: trap}}\n");
    host.reload(&begins_not).await.problem_saying(422, "  | it does not want to begin");
    // The harness adds its own address behind all else.
    let lines =
        format!("return: sqlite3\n{other}{}\nhost.data: {}/data\n", taken.port(), host.directory().display());
    fs::write(host.directory().join("returner.yaml"), lines).expect("a test's file");
    let answer = host.send(Method::POST, "/v1/reload", "").await;
    for part in ["returner.yaml:2: ", "cannot listen on", "is another host running?"] {
        assert!(answer.status == 422 && answer.text.contains(part), "nothing of `{part}`: {}", answer.text);
    }
}
