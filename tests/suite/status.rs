//! What the host tells of itself: `/metrics`, `GET /v1/returners` and `returner status`
//! say what happened, and all three the same.

mod exposition;

use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use returner_servers::{Host, Redis, Server, SqliteDatabase};
use returner_servers::{event, free_port, load, new_jid, ret, returner, until};
use serde_json::{Value, json};

use exposition::Exposition;

async fn scrape(host: &Host) -> Exposition {
    let answer = host.get("/metrics").await;
    let kind = answer.expect(200).headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    assert_eq!(kind, Some("text/plain; version=0.0.4; charset=utf-8"));
    Exposition::read(&answer.text)
}

/// What `returner status` prints for people.
fn status(host: &Host) -> String {
    let run = returner(host.directory(), &["status", "--url", &host.url("")]);
    run.expect(0);
    run.stdout
}

fn returns(jid: &str, count: usize) -> Value {
    (0..count).map(|number| ret(jid, &format!("web{number}"), "test.ping", json!(number))).collect()
}

/// A configuration of two returners, one of which is in Redis.
fn two(redis: &str, sqlite: &SqliteDatabase) -> String {
    format!("return: [redis, sqlite3]\n{redis}redis.delivery: {{max_backoff: 1s}}\n{}", sqlite.config())
}

/// A Redis that never was.
fn nowhere() -> String {
    format!("redis.host: 127.0.0.1\nredis.port: {}\n", free_port())
}

#[tokio::test]
async fn counters_tell_what_was_sent() {
    let database = SqliteDatabase::new();
    // Two workers could get into each other's way and try again.
    let more = "sqlite3.delivery: {workers: 1}\nhost.max_body: 64KiB\n";
    let mut host = Host::start(&format!("{}{more}", database.config())).await;
    let jid = new_jid();
    host.store("/v1/loads", &load(&jid, "test.ping")).await;
    database
        .execute(
            "CREATE TRIGGER poison BEFORE INSERT ON salt_returns WHEN NEW.id = 'web7'
             BEGIN SELECT RAISE(ABORT, 'no web7 here'); END",
        )
        .await;
    host.post("/v1/returns", &returns(&jid, 20)).await.expect(202);
    host.post("/v1/returns", &returns(&jid, 5)).await.expect(202);
    host.post("/v1/events", &json!([event("a/b", json!({})), event("a/c", json!({}))])).await.expect(202);
    host.post(&format!("/v1/jobs/{jid}/minions"), &json!(["web1", "late"])).await.expect(202);
    host.send(Method::POST, "/v1/returns", "{").await.expect(400);
    host.post("/v1/returns", &json!([])).await.expect(400);
    host.post("/v1/returns", &json!([{"jid": "1"}, {}])).await.expect(400);
    host.post("/v1/returns?returner=nobody", &returns(&jid, 1)).await.expect(404);
    host.send(Method::POST, "/v1/returns", "x".repeat(65 << 10)).await.expect(413);
    host.wait_drained("sqlite3").await;

    let metrics = scrape(&host).await;
    for (kind, accepted, duplicates) in
        [("return", 20.0, 5.0), ("load", 1.0, 0.0), ("event", 2.0, 0.0), ("minions", 1.0, 0.0)]
    {
        let labels = [("kind", kind)];
        assert_eq!(metrics.value("returner_items_accepted_total", &labels), accepted, "{kind}");
        assert_eq!(metrics.value("returner_items_duplicate_total", &labels), duplicates, "{kind}");
    }
    for reason in ["malformed", "empty", "invalid", "route", "too-large"] {
        assert_eq!(metrics.value("returner_requests_refused_total", &[("reason", reason)]), 1.0, "{reason}");
    }
    let lane = [("returner", "sqlite3")];
    assert_eq!(metrics.value("returner_items_stored_total", &lane), 23.0);
    assert_eq!(metrics.value("returner_dead_letters_added_total", &lane), 1.0);
    assert_eq!(metrics.value("returner_items_retried_total", &lane), 0.0);
    let calls = |outcome| {
        metrics
            .value("returner_call_duration_seconds_count", &[("returner", "sqlite3"), ("outcome", outcome)])
    };
    assert!(calls("stored") >= 4.0, "a load, minions, events, returns: {}", calls("stored"));
    // Twenty returns are halved at most five times.
    assert!((1.0..=6.0).contains(&calls("reject")), "{}", calls("reject"));
    assert_eq!(metrics.value("returner_journal_commit_items_sum", &[]), 24.0);
    let commits = metrics.value("returner_journal_commit_items_count", &[]);
    assert!((1.0..=5.0).contains(&commits), "{commits}");
    assert!(metrics.value("returner_journal_commit_duration_seconds_count", &[]) >= commits);
    assert!(metrics.value("returner_journal_bytes", &[]) > 0.0);
    assert_eq!(metrics.value("returner_journal_limit_bytes", &[]), 10.0 * 1024.0 * 1024.0 * 1024.0);
    assert_eq!(metrics.value("returner_build_info", &[("version", env!("CARGO_PKG_VERSION"))]), 1.0);
    is_at_rest(&metrics, "sqlite3");
    let text = status(&host);
    assert!(text.contains("1 item was rejected for good") && text.contains("no web7 here"), "{text}");

    // Counters begin anew with the process; what is kept is still there.
    host.restart().await;
    let metrics = scrape(&host).await;
    assert_eq!(metrics.value("returner_items_stored_total", &lane), 0.0);
    assert_eq!(metrics.value("returner_lane_dead_letters", &lane), 1.0);
}

/// Claims that nothing waits.
#[track_caller]
fn is_at_rest(metrics: &Exposition, name: &str) {
    let lane = [("returner", name)];
    for gauge in ["depth", "held", "oldest_age_seconds", "failing_seconds"] {
        assert_eq!(metrics.value(&format!("returner_lane_{gauge}"), &lane), 0.0, "{gauge}");
    }
    is_in_state(metrics, name, "ready");
    assert_eq!(metrics.value("returner_journal_taking_in", &[]), 1.0);
}

#[track_caller]
fn is_in_state(metrics: &Exposition, name: &str, state: &str) {
    for known in ["setting-up", "ready", "retrying", "stopped"] {
        let value = metrics.value("returner_lane_state", &[("returner", name), ("state", known)]);
        assert_eq!(value, f64::from(u8::from(known == state)), "{known}");
    }
}

/// Waits until a returner has failed so often.
async fn failed(host: &Host, name: &str, tries: u64) -> Value {
    until("the lane to try again", async || {
        let entry = host.returner(name).await;
        let tried = entry["failing"]["tries"].as_u64().unwrap_or(0);
        if tried >= tries { Ok(entry) } else { Err(entry.to_string()) }
    })
    .await
}

#[tokio::test]
async fn a_lane_whose_server_was_killed_tells_since_when_why_and_what_is_next() {
    let (mut server, sqlite) = (Redis::start().await, SqliteDatabase::new());
    let database = server.database().await;
    let mut host = Host::start(&two(&database.config(), &sqlite)).await;
    host.store("/v1/returns", &returns(&new_jid(), 3)).await;
    server.kill();
    host.post("/v1/returns", &returns(&new_jid(), 30)).await.expect(202);
    host.wait_drained("sqlite3").await;
    let first = failed(&host, "redis", 1).await;
    let later = failed(&host, "redis", first["failing"]["tries"].as_u64().unwrap_or(0) + 2).await;
    tells_of_an_outage(&first, &later);
    let well = host.returner("sqlite3").await;
    assert_eq!(
        (&well["failing"], &well["oldest_ms"], &well["state"]),
        (&json!(null), &json!(null), &json!("ready"))
    );

    let metrics = scrape(&host).await;
    is_at_rest(&metrics, "sqlite3");
    is_in_state(&metrics, "redis", "retrying");
    let lane = [("returner", "redis")];
    assert_eq!(metrics.value("returner_lane_depth", &lane), 30.0);
    let oldest = metrics.value("returner_lane_oldest_age_seconds", &lane);
    assert!(oldest >= later["oldest_ms"].as_f64().unwrap_or(f64::MAX) / 1000.0, "{oldest} {later}");
    assert!(metrics.value("returner_lane_failing_seconds", &lane) > 0.0);
    assert!(metrics.value("returner_items_retried_total", &lane) >= 30.0);
    let retries = metrics.value("returner_call_duration_seconds_count", &[lane[0], ("outcome", "retry")]);
    assert!(retries >= 2.0, "{retries}");

    let text = status(&host);
    for part in [
        "redis: failing for ",
        " tries\n  error  ",
        "\n  next   store ",
        "\n  hint: ",
        "journal: taking in; ",
    ] {
        assert!(text.contains(part), "nothing of `{part}`:\n{text}");
    }
    assert!(!text.contains("sqlite3:"), "of a lane that is well there is the table only:\n{text}");

    survives_a_restart_of_the_host(&mut host, later["oldest_ms"].as_u64().unwrap_or(u64::MAX)).await;
    server.restart().await;
    host.wait_drained("redis").await;
    let metrics = until("the lane to be ready", async || match scrape(&host).await {
        metrics if metrics.find("returner_lane_state", &[lane[0], ("state", "ready")]) == Some(1.0) => {
            Ok(metrics)
        }
        _ => Err(host.returner("redis").await.to_string()),
    })
    .await;
    is_at_rest(&metrics, "redis");
    assert_eq!(metrics.value("returner_items_stored_total", &lane), 30.0);
    let entry = host.returner("redis").await;
    let gone = ["failing", "oldest_ms", "behind_since"].iter().all(|field| entry[field].is_null());
    assert!(gone && entry["state"] == "ready", "{entry}");
    assert!(!status(&host).contains("redis:"));
}

/// The second look is later in the same outage.
#[track_caller]
fn tells_of_an_outage(first: &Value, later: &Value) {
    for entry in [first, later] {
        assert_eq!((&entry["state"], &entry["depth"]), (&json!("retrying"), &json!(30)), "{entry}");
        let next = entry["failing"]["next"].as_str().unwrap_or_default();
        assert!(next.starts_with("store ") && next.ends_with(" returns"), "{entry}");
        assert!(entry["last_error"]["message"].as_str().is_some_and(|text| !text.is_empty()), "{entry}");
        assert!(entry["failing"]["next_try_ms"].as_u64().unwrap_or(0) <= 1000, "{entry}");
    }
    assert_eq!(first["behind_since"], later["behind_since"]);
    assert!(first["oldest_ms"].as_u64() < later["oldest_ms"].as_u64(), "{first} {later}");
    let (before, after) = (&first["failing"], &later["failing"]);
    assert_eq!(before["since"], after["since"], "the series began once");
    assert!(before["for_ms"].as_u64() < after["for_ms"].as_u64(), "{first} {later}");
    assert!(after["for_ms"].as_u64() <= later["oldest_ms"].as_u64(), "{later}");
}

/// The age of the oldest is that of the item, not that of the process, also before the
/// lane has read anything.
async fn survives_a_restart_of_the_host(host: &mut Host, oldest: u64) {
    host.kill();
    host.restart().await;
    let entry = host.returner("redis").await;
    assert_eq!(entry["depth"], 30, "{entry}");
    assert!(entry["oldest_ms"].as_u64().is_some_and(|age| age >= oldest), "{entry}");
    failed(host, "redis", 1).await;
}

#[tokio::test]
async fn the_json_of_the_command_is_the_hosts_answer() {
    let database = SqliteDatabase::new();
    let host = Host::start(&database.config()).await;
    host.store("/v1/returns", &returns(&new_jid(), 1)).await;
    let run = returner(host.directory(), &["status", "--json", "--url", &host.url("")]);
    let printed: Value = serde_json::from_str(&run.expect(0).stdout).expect("it is JSON");
    let entry = &printed["returners"][0];
    assert_eq!((&entry["name"], &entry["stored"]), (&json!("sqlite3"), &json!(1)), "{printed}");
    assert!(entry["limits"]["memory"].is_u64() && entry["plugin"]["sha256"].is_string(), "{printed}");
    let journal = &printed["journal"];
    assert_eq!((&journal["taking_in"], &journal["refuses"]), (&json!(true), &json!(null)), "{printed}");
    assert!(journal["commits"]["slowest_ms"].as_f64() > Some(0.0), "{printed}");
}

#[tokio::test]
async fn a_journal_that_is_full_says_so_and_why() {
    let sqlite = SqliteDatabase::new();
    let host = Host::start(&format!("{}host.max_journal: 1MiB\n", two(&nowhere(), &sqlite))).await;
    let large = ret(&new_jid(), "web1", "test.ping", json!("x".repeat(1 << 20)));
    host.post("/v1/returns", &large).await.expect(202);
    let small = returns(&new_jid(), 1);
    // What sqlite3 has stored is not written down in the same moment.
    let refused = until("redis to be alone", async || {
        let refused = host.post("/v1/returns", &small).await;
        if refused.text.contains("`redis` is the furthest behind") { Ok(refused) } else { Err(refused.text) }
    })
    .await;
    refused.problem(503);
    assert!(refused.headers.contains_key(RETRY_AFTER));
    host.get("/readyz").await.expect(503);
    let metrics = scrape(&host).await;
    assert_eq!(metrics.value("returner_journal_taking_in", &[]), 0.0);
    assert!(metrics.value("returner_requests_refused_total", &[("reason", "full")]) >= 1.0);
    let bytes = metrics.value("returner_journal_bytes", &[]);
    assert!(bytes >= metrics.value("returner_journal_limit_bytes", &[]), "{bytes}");
    let answer = host.get("/v1/returners").await.expect(200).json();
    assert_eq!(answer["journal"]["refuses"]["reason"], "full", "{answer}");
    let text = status(&host);
    for part in ["journal: REFUSES everything", "`redis` is the furthest behind", "hint: bring the returner"]
    {
        assert!(text.contains(part), "nothing of `{part}`:\n{text}");
    }
}

#[tokio::test]
async fn items_of_a_returner_that_was_taken_out_are_told_of() {
    let sqlite = SqliteDatabase::new();
    let mut host = Host::start(&two(&nowhere(), &sqlite)).await;
    host.post("/v1/returns", &returns(&new_jid(), 3)).await.expect(202);
    host.kill();
    let file = host.directory().join("returner.yaml");
    let text = std::fs::read_to_string(&file).expect("the configuration is there");
    let kept: Vec<&str> = text.lines().filter(|line| !line.starts_with("redis.")).collect();
    let text = kept.join("\n").replace("[redis, sqlite3]", "sqlite3");
    std::fs::write(&file, text).expect("a test's directory can be written to");
    host.restart().await;
    let answer = host.get("/v1/returners").await.expect(200).json();
    assert_eq!(answer["orphaned"], json!([{"name": "redis", "depth": 3, "dead": 0}]), "{answer}");
    assert_eq!(scrape(&host).await.value("returner_lane_depth", &[("returner", "redis")]), 3.0);
    let text = status(&host);
    assert!(
        text.contains("redis: orphaned: it is not in the configuration; kept for it: 3 items\n"),
        "{text}"
    );
}
