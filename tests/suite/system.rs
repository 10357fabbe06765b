//! A system that fails under the host: flushes that fail, a disk that becomes read-only,
//! and a clock that jumps.

use returner_servers::{Directory, Host, Mariadb, Server, SqliteDatabase, System, new_jid, ret, until};
use serde_json::json;

#[tokio::test]
async fn what_a_failed_flush_left_is_written_again_before_anything_is_acknowledged() {
    refuses_and_goes_on(System::fail_flushes).await;
}

#[tokio::test]
async fn a_disk_that_becomes_read_only_loses_nothing() {
    refuses_and_goes_on(System::make_read_only).await;
}

/// Lets the disk fail and recover, three times, and kills the host: what was acknowledged is
/// stored, each once.
async fn refuses_and_goes_on(fail: fn(&System, bool)) {
    let mut server = Mariadb::start().await;
    let database = server.database().await;
    let system = System::new();
    let config = format!("return: mysql\n{}mysql.delivery: {{max_backoff: 1s}}\n", database.config());
    let mut host = Host::start_on(&system, Directory::new("host"), &config).await;
    server.kill();
    let mut acknowledged = Vec::new();
    for round in 0..3 {
        let item = ret(&new_jid(), "web1", "test.ping", json!(round));
        host.post("/v1/returns", &item).await.expect(202);
        acknowledged.push(item["jid"].as_str().unwrap_or_default().to_owned());
        fail(&system, true);
        for _ in 0..3 {
            let lost = ret(&new_jid(), "web1", "test.ping", json!("refused"));
            let refused = host.post("/v1/returns", &lost).await;
            refused.problem_saying(503, "the journal cannot be written");
            assert!(refused.headers.contains_key("retry-after"));
        }
        host.get("/readyz").await.problem(503);
        host.get("/healthz").await.expect(200);
        fail(&system, false);
        let item = ret(&new_jid(), "web1", "test.ping", json!("by itself"));
        until("intake to go on by itself", async || match host.post("/v1/returns", &item).await.status {
            202 => Ok(()),
            status => Err(status),
        })
        .await;
        acknowledged.push(item["jid"].as_str().unwrap_or_default().to_owned());
    }
    host.kill();
    host.restart().await;
    server.restart().await;
    host.wait_drained("mysql").await;
    let query = "SELECT jid, CAST(COUNT(*) AS SIGNED) FROM salt_returns GROUP BY jid";
    let stored: Vec<(String, i64)> = database.rows(query).await;
    for jid in &acknowledged {
        assert!(stored.contains(&(jid.clone(), 1)), "{jid} is not stored once: {stored:?}");
    }
    assert_eq!(stored.len(), acknowledged.len(), "what was refused is not there: {stored:?}");
}

/// What was refused then may be on disk all the same: it is tried, and not forgotten until the next
/// start.
#[tokio::test]
async fn a_replay_whose_flush_failed_is_tried_or_can_be_asked_for_again() {
    let (database, system) = (SqliteDatabase::new(), System::new());
    let host = with_a_return_that_is_refused(&database, &system).await;
    let dead = async || host.returner("sqlite3").await["dead"].as_u64();
    until("the dead letter", async || match dead().await {
        Some(1) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    database.execute("DROP TRIGGER refuses").await;
    replay_while_flushes_fail(&host, &system).await;
    until("it to be stored, or to be a dead letter still", async || {
        if dead().await == Some(1) {
            host.post("/v1/dead-letters/replay?all=true", &json!(null)).await.expect(200);
        }
        let (count, entry) = (database.count("salt_returns").await, host.returner("sqlite3").await);
        let is_done = count == 2 && entry["depth"] == 0 && entry["dead"] == 0;
        if is_done { Ok(()) } else { Err(format!("{count}: {entry}\n{}", host.log())) }
    })
    .await;
}

/// One whose flush failed was found on disk and tried, without being told of: the next one is not
/// taken for it.
#[tokio::test]
async fn a_dead_letter_is_tried_each_time_that_it_is_replayed() {
    let (database, system) = (SqliteDatabase::new(), System::new());
    let host = with_a_return_that_is_refused(&database, &system).await;
    let is_dead = async || {
        let entry = host.returner("sqlite3").await;
        let is_dead = entry["depth"] == 0 && entry["dead"] == 1;
        if is_dead { Ok(()) } else { Err(entry) }
    };
    until("the dead letter", is_dead).await;
    replay_while_flushes_fail(&host, &system).await;
    until("it to be a dead letter, again or still", is_dead).await;
    database.execute("DROP TRIGGER refuses").await;
    let answer = host.post("/v1/dead-letters/replay?all=true", &json!(null)).await.expect(200).json();
    assert_eq!(answer["replayed"], 1);
    until("it to be stored", async || {
        let bad = database.rows::<(String,)>("SELECT id FROM salt_returns WHERE id = 'bad'").await;
        if bad.len() == 1 { Ok(()) } else { Err(host.returner("sqlite3").await) }
    })
    .await;
}

/// A host that was given one return, which its SQLite refuses until the trigger is gone.
async fn with_a_return_that_is_refused(database: &SqliteDatabase, system: &System) -> Host {
    let host = Host::start_on(system, Directory::new("host"), &database.config()).await;
    host.wait_set_up("sqlite3").await;
    database.refuse_bad().await;
    host.post("/v1/returns", &ret(&new_jid(), "bad", "test.ping", json!(1))).await.expect(202);
    host
}

/// It is refused, and may be on disk all the same; then the journal goes on.
async fn replay_while_flushes_fail(host: &Host, system: &System) {
    system.fail_flushes(true);
    host.post("/v1/dead-letters/replay?all=true", &json!(null)).await.problem(503);
    system.fail_flushes(false);
    // The next one lets the journal go on.
    let next = ret(&new_jid(), "good", "test.ping", json!(2));
    until("intake to go on", async || match host.post("/v1/returns", &next).await.status {
        202 => Ok(()),
        status => Err(status),
    })
    .await;
}

#[tokio::test]
async fn a_clock_that_jumps_changes_no_promise() {
    let mut server = Mariadb::start().await;
    let (mysql, sqlite) = (server.database().await, SqliteDatabase::new());
    let system = System::new();
    let config = format!(
        "return: [mysql, sqlite3]\n{}{}mysql.delivery: {{max_backoff: 1s}}\n",
        mysql.config(),
        sqlite.config()
    );
    let mut host = Host::start_on(&system, Directory::new("host"), &config).await;
    let known = ret(&new_jid(), "web1", "test.ping", json!(true));
    host.store("/v1/returns", &known).await;
    for (jump, seconds) in [("an hour back", -3600), ("a day on", 24 * 3600), ("and back", 0)] {
        server.kill();
        host.post("/v1/returns", &ret(&new_jid(), "web1", "test.ping", json!(seconds))).await.expect(202);
        system.shift_clock(seconds);
        // Within the window it is the same return as before, to this process and to the next.
        for start in ["the same", "the next"] {
            let again = host.post("/v1/returns", &known).await.expect(202).json();
            assert_eq!(again["duplicates"], 1, "{jump}, {start} process");
            host.restart().await;
        }
        server.restart().await;
        for name in ["mysql", "sqlite3"] {
            host.wait_drained(name).await;
        }
    }
    assert_eq!((mysql.count("salt_returns").await, sqlite.count("salt_returns").await), (4, 4));
}
