//! Crashes: what was acknowledged is stored, and in SQL it is stored once.

use std::time::{Duration, Instant};

use reqwest::Method;
use returner_servers::{
    Cut, Flavour, Host, Mariadb, Mongodb, MysqlDatabase, Proxy, Redis, RedisDatabase, Server, SqliteDatabase,
    new_jid, ret, until, until_within,
};
use serde_json::{Value, json};

use crate::stores::TUTORIAL;

fn returns(jid: &str, count: usize) -> Value {
    (0..count).map(|number| ret(jid, &format!("web{number}"), "test.ping", json!("x".repeat(200)))).collect()
}

/// Claims that a table has each return of these jobs, and each once.
async fn each_once(database: &MysqlDatabase, jobs: &[String], each: usize) {
    let query = "SELECT jid, COUNT(*), COUNT(DISTINCT id) FROM salt_returns GROUP BY jid ORDER BY jid";
    let found: Vec<(String, i64, i64)> = database.rows(query).await;
    let each = i64::try_from(each).unwrap_or_default();
    let expected: Vec<_> = jobs.iter().map(|jid| (jid.clone(), each, each)).collect();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn what_waits_for_a_database_that_is_down_survives_a_kill() {
    let mut server = Mariadb::start().await;
    let database = server.database().await;
    let config = format!("return: mysql\n{}mysql.delivery: {{max_backoff: 1s}}\n", database.config());
    let mut host = Host::start(&config).await;
    let before = new_jid();
    host.store("/v1/returns", &returns(&before, 300)).await;
    server.kill();
    let (first, second) = (new_jid(), new_jid());
    host.post("/v1/returns", &returns(&first, 300)).await.expect(202);
    host.kill();
    host.restart().await;
    host.post("/v1/returns", &returns(&second, 300)).await.expect(202);
    assert_eq!(host.returner("mysql").await["depth"], 600);
    host.kill();
    server.restart().await;
    host.restart().await;
    host.wait_drained("mysql").await;
    each_once(&database, &[before, first, second], 300).await;
}

/// Its returner is a profile; or what the return asks for is by then what the configuration has.
#[tokio::test]
async fn what_waits_for_a_lane_that_a_return_asked_for_is_delivered_after_a_restart() {
    let mut server = Redis::start().await;
    for is_configured in [false, true] {
        let (database, asked) = (server.database().await, server.database().await);
        let config = |database: &RedisDatabase| {
            let options = database.options().into_iter();
            let options = options.map(|(key, value)| format!("alternative.redis.{key}: '{value}'\n"));
            format!("return: alternative.redis\n{}", options.collect::<String>())
        };
        let mut host = Host::start(&config(&database)).await;
        host.wait_set_up("alternative.redis").await;
        server.pause();
        let jid = new_jid();
        let mut item = ret(&jid, "web1", "test.ping", json!(true));
        item["ret_kwargs"] = json!({"db": asked.number()});
        host.post("/v1/returns", &item).await.expect(202);
        host.kill();
        server.resume();
        if is_configured {
            host.rewrite(&config(&asked));
        }
        host.restart().await;
        until("it to be stored", async || {
            let count: usize = asked.ask(&["HLEN", &format!("ret:{jid}")]).await;
            if count == 1 { Ok(()) } else { Err(count) }
        })
        .await;
        until("nothing to be orphaned", async || {
            let orphaned = host.get("/v1/returners").await.expect(200).json()["orphaned"].clone();
            if orphaned == json!([]) { Ok(()) } else { Err(orphaned) }
        })
        .await;
    }
}

/// `salt` asks for a load after each publishing, and gives up without one.
#[tokio::test]
async fn the_load_of_a_new_job_is_known_while_its_database_is_away() {
    let mut server = Mariadb::start().await;
    let database = server.database().await;
    let limits = "mysql.limits: {host_call: 1s, time: 5s}\nmysql.delivery: {max_backoff: 1s}\n";
    let host = Host::start(&format!("return: mysql\nhost.barrier: 1h\n{}{limits}", database.config())).await;
    let published = |jid: &str, target: &str| json!({"jid": jid, "fun": "test.ping", "tgt": target});
    let stored = new_jid();
    host.store("/v1/loads", &published(&stored, "stored")).await;
    let load = async |jid: &str| host.get(&format!("/v1/jobs/{jid}")).await;
    let jobs: Vec<String> = (0..2).map(|_| new_jid()).collect();
    for (jid, hangs) in jobs.iter().zip([true, false]) {
        if hangs {
            server.pause()
        } else {
            server.kill()
        }
        host.post("/v1/loads", &published(jid, "first")).await.expect(202);
        host.post("/v1/loads", &published(jid, "second")).await.expect(202);
        assert_eq!(load(jid).await.expect(200).json()["load"]["tgt"], "first");
        // What is in the database only was accepted before, too.
        assert_eq!(load(&stored).await.expect(200).json()["load"]["tgt"], "stored");
        // Of others nobody knows; and that is not waited for as long as for a lane that is well.
        until("the lane to have failed for a while", async || {
            let asked = load("20260101000000000000");
            let answer = tokio::time::timeout(Duration::from_secs(10), asked).await;
            let answer = answer.map_err(|_| "a question waits for as long as the barrier".to_owned())?;
            if answer.status == 503 { Ok(()) } else { Err(format!("{answer:?}")) }
        })
        .await;
        if hangs {
            server.resume();
        }
    }
    server.restart().await;
    host.wait_drained("mysql").await;
    for jid in &jobs {
        assert_eq!(load(jid).await.expect(200).json()["load"]["tgt"], "first", "as the store has it");
    }
}

#[tokio::test]
async fn the_host_starts_while_every_server_is_down() {
    let (mut mariadb, mut redis, mut mongodb) =
        (Mariadb::start().await, Redis::start().await, Mongodb::start(Flavour::Nx).await);
    let (mysql, red, mongo) = (mariadb.database().await, redis.database().await, mongodb.database());
    mariadb.kill();
    redis.kill();
    mongodb.kill();
    let connections = [mysql.config(), red.config(), mongo.config()].concat();
    let host = Host::start(&format!("return: [mysql, redis, mongo]\n{connections}")).await;
    let jid = new_jid();
    host.post("/v1/returns", &returns(&jid, 10)).await.expect(202);
    mariadb.restart().await;
    redis.restart().await;
    mongodb.restart().await;
    for name in ["mysql", "redis", "mongo"] {
        host.wait_drained(name).await;
    }
    each_once(&mysql, std::slice::from_ref(&jid), 10).await;
    assert_eq!(red.ask::<usize>(&["HLEN", &format!("ret:{jid}")]).await, 10);
    assert_eq!(mongo.count("saltReturns").await, 10);
}

#[tokio::test]
async fn kills_in_the_middle_of_delivery_lose_nothing_and_double_nothing() {
    let database = Mariadb::shared().await.database().await;
    let sqlite = SqliteDatabase::new();
    let config = format!("return: [mysql, sqlite3]\n{}{}", database.config(), sqlite.config());
    let mut host = Host::start(&config).await;
    let mut jobs = Vec::new();
    for _ in 0..6 {
        for _ in 0..4 {
            let jid = new_jid();
            host.post("/v1/returns", &returns(&jid, 500)).await.expect(202);
            jobs.push(jid);
        }
        // At whatever point delivery is now.
        host.kill();
        host.restart().await;
    }
    host.wait_drained("mysql").await;
    host.wait_drained("sqlite3").await;
    each_once(&database, &jobs, 500).await;
    let distinct = "(SELECT DISTINCT jid, id FROM salt_returns)";
    let expected = i64::try_from(jobs.len() * 500).unwrap_or_default();
    assert_eq!((sqlite.count("salt_returns").await, sqlite.count(distinct).await), (expected, expected));
}

#[tokio::test]
async fn kills_of_the_database_in_the_middle_of_delivery_double_nothing() {
    let mut server = Mariadb::start().await;
    let database = server.database().await;
    let config = format!("return: mysql\n{}mysql.delivery: {{max_backoff: 1s}}\n", database.config());
    let host = Host::start(&config).await;
    let mut jobs = Vec::new();
    for _ in 0..4 {
        for _ in 0..4 {
            let jid = new_jid();
            host.post("/v1/returns", &returns(&jid, 500)).await.expect(202);
            jobs.push(jid);
        }
        server.kill();
        server.restart().await;
    }
    host.wait_drained("mysql").await;
    each_once(&database, &jobs, 500).await;
}

/// Half a statement; a transaction that MySQL undoes; one that it has, and nobody is told.
#[tokio::test]
async fn a_connection_cut_in_a_statement_or_at_commit_doubles_nothing() {
    let database = Mariadb::shared().await.database().await;
    let (proxy, config) = Proxy::in_front_of("mysql", &database.options()).await;
    let host = Host::start(&format!("return: mysql\n{config}mysql.delivery: {{max_backoff: 1s}}\n")).await;
    let mut jobs = Vec::new();
    for cut in [Cut::InStatement, Cut::BeforeCommit, Cut::AfterCommit] {
        let jid = new_jid();
        proxy.arm(cut);
        host.post("/v1/returns", &returns(&jid, 300)).await.expect(202);
        host.wait_drained("mysql").await;
        assert!(!proxy.is_armed(), "{cut:?}: nothing was cut");
        jobs.push(jid);
    }
    each_once(&database, &jobs, 300).await;
}

/// MySQL's own type `json` keeps no text: other spaces, another order of keys, other words for
/// some numbers. (MariaDB's is a text; `MYSQL_URL` names a MySQL.)
#[tokio::test]
async fn a_commit_that_nobody_is_told_of_doubles_nothing_in_columns_of_json() {
    let database = Mariadb::shared().await.database().await;
    database.execute(TUTORIAL).await;
    database
        .execute(
            "ALTER TABLE salt_returns MODIFY `return` json NOT NULL, MODIFY full_ret json NOT NULL;
             ALTER TABLE salt_events MODIFY data json NOT NULL",
        )
        .await;
    let (proxy, config) = Proxy::in_front_of("mysql", &database.options()).await;
    let host = Host::start(&format!("return: mysql\n{config}mysql.delivery: {{max_backoff: 1s}}\n")).await;
    let odd =
        r#"{"b": [1.0, 1e2, -0.5, 1E-7, 18446744073709551615], "a": "\u00e9\ud83d\ude00\u0000", "": null}"#;
    let of_minion =
        |id| format!(r#"{{"jid": "20260214093012345678", "id": "{id}", "fun": "f", "return": {odd}}}"#);
    let of_tag = |tag| format!(r#"{{"tag": "{tag}", "data": {odd}}}"#);
    let lines = |of: &dyn Fn(usize) -> String| (0..100).map(of).collect::<Vec<_>>().join("\n");
    for (path, body) in [("/v1/returns", lines(&of_minion)), ("/v1/events", lines(&of_tag))] {
        proxy.arm(Cut::AfterCommit);
        host.send(Method::POST, path, body).await.expect(202);
        host.wait_drained("mysql").await;
        assert!(!proxy.is_armed(), "{path}: nothing was cut");
    }
    for (table, key) in [("salt_returns", "id"), ("salt_events", "tag")] {
        let query = format!("SELECT COUNT(*), COUNT(DISTINCT `{key}`) FROM {table}");
        let found: Vec<(i64, i64)> = database.rows(&query).await;
        assert_eq!(found, [(100, 100)], "{table}");
    }
}

/// Or the host's is hours ahead of it.
#[tokio::test]
async fn events_stand_once_though_the_server_s_clock_is_behind() {
    let server = Mariadb::start().await;
    let database = server.database().await;
    database.execute(TUTORIAL).await;
    let options = database.options_of_a_common_user().await;
    database.execute("SET GLOBAL init_connect = 'SET timestamp = UNIX_TIMESTAMP() - 4 * 3600'").await;
    let (proxy, config) = Proxy::in_front_of("mysql", &options).await;
    let host = Host::start(&format!("return: mysql\n{config}mysql.delivery: {{max_backoff: 1s}}\n")).await;
    let of_tag = |tag: usize| format!(r#"{{"tag": "{tag}", "data": {{"a": 1}}}}"#);
    proxy.arm(Cut::AfterCommit);
    let body = (0..100).map(of_tag).collect::<Vec<_>>().join("\n");
    host.send(Method::POST, "/v1/events", body).await.expect(202);
    host.wait_drained("mysql").await;
    assert!(!proxy.is_armed(), "nothing was cut");
    let found: Vec<(i64, i64, i64)> = database
        .rows("SELECT COUNT(*), COUNT(DISTINCT tag), COUNT(IF(alter_time < NOW() - INTERVAL 3 HOUR, 1, NULL)) FROM salt_events")
        .await;
    assert_eq!(found, [(100, 100, 100)]);
}

#[tokio::test]
async fn a_client_that_sends_again_after_a_kill_doubles_nothing() {
    let database = SqliteDatabase::new();
    let mut host = Host::start(&database.config()).await;
    let jid = new_jid();
    let body = returns(&jid, 500);
    host.post("/v1/returns", &body).await.expect(202);
    host.kill();
    assert!(host.try_send(Method::POST, "/v1/returns", body.to_string()).await.is_err());
    host.restart().await;
    let answer = host.store("/v1/returns", &body).await;
    assert_eq!(answer["duplicates"], 500, "{answer}");
    assert_eq!(database.count("salt_returns").await, 500);
}

#[tokio::test]
async fn stopping_is_clean() {
    let database = SqliteDatabase::new();
    let mut host = Host::start(&database.config()).await;
    host.post("/v1/returns", &returns(&new_jid(), 500)).await.expect(202);
    let status = host.terminate();
    assert!(status.success(), "{status}; it wrote:\n{}", host.log());
    host.restart().await;
    host.wait_drained("sqlite3").await;
    assert_eq!(database.count("salt_returns").await, 500);
}

/// A lane that has failed for long waits long, but not for a server that is back: it looks twice
/// a second whether it is.
#[tokio::test]
async fn a_server_that_is_back_is_found_long_before_the_next_try() {
    // Longer than the server takes to come back.
    const LONG: Duration = Duration::from_secs(20);
    let mut server = Mariadb::start().await;
    let database = server.database().await;
    let host = Host::start(&format!("return: mysql\n{}", database.config())).await;
    let jid = new_jid();
    host.store("/v1/returns", &returns(&jid, 10)).await;
    server.kill();
    let waits = new_jid();
    host.post("/v1/returns", &returns(&waits, 10)).await.expect(202);
    // With jitter, a long wait comes sooner or later.
    let next = until_within(Duration::from_secs(300), "a long wait", async || {
        let entry = host.returner("mysql").await;
        let wait = Duration::from_millis(entry["failing"]["next_try_ms"].as_u64().unwrap_or(0));
        if wait > LONG { Ok(Instant::now() + wait) } else { Err(entry.to_string()) }
    })
    .await;
    server.restart().await;
    host.wait_drained("mysql").await;
    assert!(Instant::now() < next, "it waited for its next try");
    each_once(&database, &[jid, waits], 10).await;
}

/// A server that reads its data, after a restart, takes connections and answers with errors.
#[tokio::test]
async fn a_redis_that_is_loading_is_waited_for() {
    let server = Redis::start().await;
    let database = server.database().await;
    let host = Host::start(&format!("return: redis\n{}", database.config())).await;
    host.store("/v1/returns", &returns(&new_jid(), 10)).await;
    database.ask::<()>(&["DEBUG", "POPULATE", "2000"]).await;
    // It looks at its clients between the keys, each of which takes it five milliseconds.
    for (key, value) in [("loading-process-events-interval-bytes", "1024"), ("key-load-delay", "5000")] {
        database.ask::<()>(&["CONFIG", "SET", key, value]).await;
    }
    // It takes longer than a client waits.
    let reload = database.try_ask::<()>(&["DEBUG", "RELOAD"]).await;
    assert!(reload.is_err_and(|error| error.is_timeout()));
    let jid = new_jid();
    until("the server to be loading", async || match database.try_ask::<()>(&["GET", "x"]).await {
        Err(error) if error.code() == Some("LOADING") => Ok(()),
        answer => Err(format!("{answer:?}")),
    })
    .await;
    host.post("/v1/returns", &returns(&jid, 10)).await.expect(202);
    until("the lane to say why it waits", async || {
        let entry = host.returner("redis").await;
        if entry["last_error"].to_string().contains("LOADING") { Ok(()) } else { Err(entry.to_string()) }
    })
    .await;
    host.wait_drained("redis").await;
    assert_eq!(database.ask::<usize>(&["HLEN", &format!("ret:{jid}")]).await, 10);
    assert_eq!(host.get("/v1/dead-letters").await.expect(200).json()["dead_letters"], json!([]));
}

/// The first signal lets the call under way end, which hangs; the second waits for nothing.
#[tokio::test]
async fn a_second_signal_stops_at_once_and_loses_nothing() {
    let mut server = Mariadb::start().await;
    let database = server.database().await;
    let limits = "host.drain: 60s\nmysql.limits: {host_call: 60s, time: 60s}\n";
    let mut host = Host::start(&format!("return: mysql\n{}{limits}", database.config())).await;
    let (before, hung) = (new_jid(), new_jid());
    host.store("/v1/returns", &returns(&before, 10)).await;
    server.pause();
    host.post("/v1/returns", &returns(&hung, 10)).await.expect(202);
    host.ask_to_stop();
    until("the host to hear of the first signal", async || {
        if host.log().contains("no more is taken in") { Ok(()) } else { Err(host.log()) }
    })
    .await;
    assert!(host.is_running(), "it waits for MySQL: {}", host.log());
    let status = host.terminate();
    assert!(status.success() && host.log().contains("stopped at once"), "{status}; {}", host.log());
    server.resume();
    host.restart().await;
    host.wait_drained("mysql").await;
    each_once(&database, &[before, hung], 10).await;
}

/// The database was lost, and is there again with nothing in it: what `setup` had made is made anew.
#[tokio::test]
async fn a_database_that_is_put_back_empty_goes_on_by_itself() {
    let (mysql, sqlite) = (Mariadb::shared().await.database().await, SqliteDatabase::new());
    let host = Host::start(&format!("return: [mysql, sqlite3]\n{}{}", mysql.config(), sqlite.config())).await;
    host.store("/v1/returns", &ret(&new_jid(), "before", "test.ping", json!(true))).await;
    mysql.execute("DROP TABLE salt_returns; DROP TABLE jids; DROP TABLE salt_events").await;
    sqlite.execute("DROP TABLE salt_returns; DROP TABLE jids; DROP TABLE salt_events").await;
    host.post("/v1/returns", &ret(&new_jid(), "after", "test.ping", json!(true))).await.expect(202);
    for name in ["mysql", "sqlite3"] {
        host.wait_drained(name).await;
    }
    assert_eq!((mysql.count("salt_returns").await, sqlite.count("salt_returns").await), (1, 1));
}
