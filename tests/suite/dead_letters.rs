//! Dead letters: what a returner rejects for good is kept with the reason, and can be
//! tried again or removed.

use std::time::Duration;

use reqwest::Method;
use returner_servers::{Host, Mariadb, MysqlDatabase, SqliteDatabase, guest, new_jid, ret, returner, until};
use serde_json::{Value, json};

use crate::stores::TUTORIAL;

/// A table that takes small returns only.
const NARROW: &str = "ALTER TABLE salt_returns MODIFY full_ret varchar(300) NOT NULL";
const WIDE: &str = "ALTER TABLE salt_returns MODIFY full_ret mediumtext NOT NULL";

async fn narrow() -> MysqlDatabase {
    let database = Mariadb::shared().await.database().await;
    database.execute(TUTORIAL).await;
    database.execute(NARROW).await;
    database
}

async fn listed(host: &Host, query: &str) -> Vec<Value> {
    let answer = host.get(&format!("/v1/dead-letters{query}")).await.expect(200).json();
    answer["dead_letters"].as_array().cloned().unwrap_or_default()
}

async fn wait_dead(host: &Host, count: usize) -> Vec<Value> {
    until("the dead letters", async || {
        let found = listed(host, "").await;
        if found.len() == count { Ok(found) } else { Err(json!(found).to_string()) }
    })
    .await
}

/// Sends two returns that fit and one, of `wide`, that does not.
async fn send(host: &Host, jid: &str) {
    let big = ret(jid, "wide", "test.ping", json!("x".repeat(400)));
    let items =
        json!([ret(jid, "web1", "test.ping", json!(1)), big, ret(jid, "web2", "test.ping", json!(2))]);
    host.post("/v1/returns", &items).await.expect(202);
    host.wait_drained("mysql").await;
}

#[tokio::test]
async fn a_dead_letter_is_alone_and_says_why() {
    let database = narrow().await;
    let host = Host::start(&format!("return: mysql\n{}", database.config())).await;
    let jid = new_jid();
    send(&host, &jid).await;
    assert_eq!(database.count("salt_returns").await, 2, "the others are stored");
    let found = wait_dead(&host, 1).await;
    assert_eq!((&found[0]["returner"], &found[0]["kind"]), (&json!("mysql"), &json!("return")));
    assert!(found[0]["title"].as_str().is_some_and(|title| title.contains("`wide`")), "{found:?}");
    assert!(found[0]["reason"].as_str().is_some_and(|reason| reason.contains("full_ret")), "{found:?}");
    assert!(found[0]["plugin"].as_str().is_some_and(|plugin| plugin.starts_with("mysql 0.")), "{found:?}");
    let whole = host.get(&format!("/v1/dead-letters/{}", found[0]["id"])).await.expect(200).json();
    assert_eq!((&whole["item"]["jid"], &whole["item"]["id"]), (&json!(jid), &json!("wide")));
    assert_eq!(host.returner("mysql").await["dead"], 1);
    host.get("/v1/dead-letters/4711").await.problem_saying(404, "4711");
}

#[tokio::test]
async fn they_are_found_by_returner_reason_and_age() {
    let database = narrow().await;
    let host = Host::start(&format!("return: mysql\n{}", database.config())).await;
    send(&host, &new_jid()).await;
    send(&host, &new_jid()).await;
    wait_dead(&host, 2).await;
    for (query, count) in [
        ("?returner=mysql", 2),
        ("?reason=full_ret", 2),
        ("?reason=nothing", 0),
        ("?newer_than=1h", 2),
        ("?older_than=1h", 0),
        ("?limit=1", 1),
    ] {
        assert_eq!(listed(&host, query).await.len(), count, "{query}");
    }
    let page = host.get("/v1/dead-letters?limit=1").await.expect(200).json();
    let rest = listed(&host, &format!("?after={}", page["next"])).await;
    assert_eq!(rest.len(), 1, "{page}");
    host.get("/v1/dead-letters?older_than=soon").await.problem_saying(400, "older_than");
    host.get("/v1/dead-letters?returner=mysqll").await.problem_saying(404, "`mysqll`");
    let replay = host.post("/v1/dead-letters/replay?returner=mysqll", &json!(null)).await;
    assert_eq!(replay.problem_saying(404, "`mysqll`")["known"], json!(["mysql"]));
    host.get("/v1/dead-letters?id=x").await.problem_saying(400, "`id`");
    host.get("/v1/dead-letters/x").await.problem(400);
    // Nobody means all of them by an empty word.
    for query in ["reason=", "returner="] {
        let answer = host.send(Method::DELETE, &format!("/v1/dead-letters?{query}"), "").await;
        answer.problem_saying(400, "it is empty");
    }
    assert_eq!(listed(&host, "").await.len(), 2);
}

/// They are told and removed as what is kept for a returner that is gone.
#[tokio::test]
async fn those_of_a_returner_that_is_gone_go_with_its_lane() {
    let database = narrow().await;
    let config = format!("return: [sqlite3, mysql]\n{}", database.config());
    let host = Host::start(&config).await;
    send(&host, &new_jid()).await;
    wait_dead(&host, 1).await;
    host.reload("return: sqlite3\n").await.expect(200);
    let orphaned = async || host.get("/v1/returners").await.expect(200).json()["orphaned"].clone();
    assert_eq!(orphaned().await, json!([{"name": "mysql", "depth": 0, "dead": 1}]));
    let command = |words: &[&str]| returner(host.directory(), &[words, &["--url", &host.url("")]].concat());
    let status = command(&["status"]);
    assert!(status.expect(0).stdout.contains("kept for it: 1 dead letter\n"), "{}", status.stdout);
    let dropped = command(&["lanes", "drop", "mysql"]);
    assert!(dropped.expect(0).stdout.contains("`mysql`: 0 items, 1 dead letter\n"), "{}", dropped.stdout);
    assert_eq!(orphaned().await, json!([]));
    host.reload(&config).await.expect(200);
    assert_eq!(host.returner("mysql").await["dead"], 0);
}

/// A client that does not wait for its replay leaves nothing half-done.
#[tokio::test]
async fn a_replay_that_nobody_waits_for_is_done_all_the_same() {
    let database = narrow().await;
    let host = Host::start(&format!("return: mysql\n{}", database.config())).await;
    let jid = new_jid();
    let wide = |number| ret(&jid, &format!("web{number}"), "test.ping", json!("x".repeat(400)));
    let items: Value = (0..600).map(wide).collect();
    host.post("/v1/returns", &items).await.expect(202);
    host.wait_drained("mysql").await;
    assert_eq!(host.returner("mysql").await["dead"], 600);
    database.execute(WIDE).await;
    for millis in [1, 2, 4, 8, 16] {
        let replay = host.post("/v1/dead-letters/replay?all=true", &json!(null));
        let _ = tokio::time::timeout(Duration::from_millis(millis), replay).await;
    }
    // The plugin looks at the columns once a second.
    until("all to be stored", async || {
        host.wait_drained("mysql").await;
        let dead = listed(&host, "?limit=1000").await.len();
        assert_eq!(host.returner("mysql").await["dead"], dead);
        host.post("/v1/dead-letters/replay?all=true", &json!(null)).await.expect(200);
        if dead == 0 { Ok(()) } else { Err(dead) }
    })
    .await;
    assert_eq!(database.count("salt_returns").await, 600);
}

/// Why it rejected an item is often in what a plugin printed.
#[tokio::test]
async fn what_the_plugin_printed_is_kept_with_what_it_rejected() {
    let plugin = guest("hostile").await;
    let host = Host::start(&format!("return: odd\nodd.plugin: {}\n", plugin.display())).await;
    host.post("/v1/returns", &ret(&new_jid(), "web1", "test.ping", json!("complain"))).await.expect(202);
    let id = wait_dead(&host, 1).await[0]["id"].clone();
    let letter = host.get(&format!("/v1/dead-letters/{id}")).await.expect(200).json();
    assert_eq!(letter["stderr"], "it cannot stand this one\n", "{letter}");
}

/// A copy of what is stored is stored, whatever else its lane has set aside.
#[tokio::test]
async fn a_copy_is_told_what_became_of_the_first() {
    let database = narrow().await;
    let host = Host::start(&format!("return: mysql\n{}", database.config())).await;
    let good = ret(&new_jid(), "web1", "test.ping", json!(1));
    let bad = ret(&new_jid(), "wide", "test.ping", json!("x".repeat(400)));
    let expected = json!({"accepted": 2, "duplicates": 0, "stored": false, "rejected": ["mysql"]});
    let answer = host.post("/v1/returns?wait=stored", &json!([good, bad])).await.expect(202).json();
    assert_eq!(answer, expected);
    let answer = host.post("/v1/returns?wait=stored", &good).await.expect(200).json();
    assert_eq!(answer, json!({"accepted": 0, "duplicates": 1, "stored": true}));
    let answer = host.post("/v1/returns?wait=stored", &bad).await.expect(202).json();
    assert_eq!(answer, json!({"accepted": 0, "duplicates": 1, "stored": false, "rejected": ["mysql"]}));
}

/// Of several returners one had it before, and rejected it: that is not stored, though the others
/// get it only now.
#[tokio::test]
async fn a_returner_that_had_it_before_is_told_of_with_those_that_had_not() {
    let (database, other) = (narrow().await, SqliteDatabase::new());
    let host =
        Host::start(&format!("return: [mysql, sqlite3]\n{}{}", database.config(), other.config())).await;
    let item = ret(&new_jid(), "wide", "test.ping", json!("x".repeat(400)));
    let expected = json!({"accepted": 1, "duplicates": 0, "stored": false, "rejected": ["mysql"]});
    for returners in ["mysql", "mysql,sqlite3"] {
        let answer = host.post(&format!("/v1/returns?returner={returners}&wait=stored"), &item).await;
        assert_eq!(answer.expect(202).json(), expected, "{returners}");
    }
    assert_eq!(other.count("salt_returns").await, 1);
}

/// A returner that is slow, or away, hides nothing of what the others did.
#[tokio::test]
async fn what_one_rejected_or_holds_is_told_while_another_is_away() {
    let plugin = guest("hostile").await;
    let config = format!(
        "return: [redis, odd]\nredis: {{host: 127.0.0.1, port: 1}}\nodd.plugin: {}\nhost.barrier: 3s\n",
        plugin.display()
    );
    let host = Host::start(&config).await;
    for (how, waiting, rejected) in [
        ("store", json!(["redis"]), json!(null)),
        ("refuse", json!(["redis"]), json!(["odd"])),
        ("later", json!(["redis", "odd"]), json!(null)),
    ] {
        let item = ret(&new_jid(), "web1", "test.ping", json!(how));
        let answer = host.post("/v1/returns?wait=stored", &item).await.expect(202).json();
        assert_eq!(answer["stored"], false, "{how}: {answer}");
        assert_eq!((&answer["waiting"], &answer["rejected"]), (&waiting, &rejected), "{how}");
    }
}

/// They are of a lane that a return asked for, and that does not run since the host was started.
#[tokio::test]
async fn those_of_a_lane_that_a_return_asked_for_are_tried_when_they_are_replayed() {
    let database = SqliteDatabase::new();
    let mut host = Host::start(&database.config()).await;
    host.wait_set_up("sqlite3").await;
    database.refuse_bad().await;
    let mut item = ret(&new_jid(), "bad", "test.ping", json!(true));
    item["ret_kwargs"] = json!({"timeout": 7});
    host.post("/v1/returns", &item).await.expect(202);
    let lane = wait_dead(&host, 1).await[0]["returner"].clone();
    assert!(lane.as_str().is_some_and(|lane| lane.contains("timeout")), "{lane}");
    host.kill();
    host.restart().await;
    let status = returner(host.directory(), &["status", "--url", &host.url("")]);
    assert!(status.expect(0).stdout.contains("at rest; kept for it: 1 dead letter\n"), "{}", status.stdout);
    database.execute("DROP TRIGGER refuses").await;
    let answer = host.post("/v1/dead-letters/replay?all=true", &json!(null)).await.expect(200).json();
    assert_eq!(answer["replayed"], 1);
    until("it to be stored", async || {
        let count = database.count("salt_returns").await;
        if count == 1 { Ok(()) } else { Err(count) }
    })
    .await;
    assert_eq!(listed(&host, "").await, Vec::<Value>::new());
}

/// After it is dropped, what is sent again is stored; until then nobody is told that it is.
#[tokio::test]
async fn what_was_dropped_can_be_sent_again() {
    let database = narrow().await;
    let host = Host::start(&format!("return: mysql\n{}", database.config())).await;
    let item = ret(&new_jid(), "wide", "test.ping", json!("x".repeat(400)));
    for _ in 0..2 {
        let answer = host.post("/v1/returns?wait=stored", &item).await.expect(202).json();
        assert_eq!(answer["stored"], false, "it is a dead letter");
    }
    database.execute(WIDE).await;
    // The plugin looks at the columns once a second: until then it is rejected again.
    until("it to be stored", async || {
        let dropped = host.send(Method::DELETE, "/v1/dead-letters?all=true", "").await.expect(200).json();
        assert_eq!(dropped["dropped"], 1);
        let answer = host.post("/v1/returns?wait=stored", &item).await.json();
        assert_eq!(answer["duplicates"], 0, "what was dropped is none");
        if answer["stored"] == true { Ok(()) } else { Err(answer) }
    })
    .await;
    assert_eq!(database.count("salt_returns").await, 1);
}

#[tokio::test]
async fn they_are_stored_when_they_are_replayed_after_the_cause_is_mended() {
    let database = narrow().await;
    let mut host = Host::start(&format!("return: mysql\n{}", database.config())).await;
    let jid = new_jid();
    send(&host, &jid).await;
    let first = wait_dead(&host, 1).await;
    // Nothing is mended yet: it is rejected again, and nothing is lost.
    let answer = host.post("/v1/dead-letters/replay?all=true", &json!(null)).await.expect(200).json();
    assert_eq!(answer["replayed"], 1);
    host.wait_drained("mysql").await;
    let again = wait_dead(&host, 1).await;
    assert_ne!(first[0]["id"], again[0]["id"]);
    let tries = |letters: &[Value]| letters[0]["tries"].as_u64().expect("how often it was tried");
    assert_eq!(tries(&again), tries(&first) + 1);
    // They outlive a crash, and are tried again by a host that has just started.
    host.kill();
    host.restart().await;
    assert_eq!(host.returner("mysql").await["dead"], 1);
    database.execute(WIDE).await;
    let run = returner(host.directory(), &["dead", "replay", "--returner", "mysql", "--url", &host.url("")]);
    assert!(run.expect(0).stdout.contains("1 replayed"), "{}", run.stdout);
    host.wait_drained("mysql").await;
    assert_eq!(database.count(&format!("salt_returns WHERE jid = '{jid}'")).await, 3, "each once");
    assert_eq!(listed(&host, "").await, Vec::<Value>::new());
    assert_eq!(host.returner("mysql").await["dead"], 0);
}

#[tokio::test]
async fn the_command_line_lists_shows_and_drops_them() {
    let database = narrow().await;
    let host = Host::start(&format!("return: mysql\n{}", database.config())).await;
    send(&host, &new_jid()).await;
    let id = wait_dead(&host, 1).await[0]["id"].to_string();
    let url = host.url("");
    let run = |arguments: &[&str]| {
        let arguments: Vec<&str> = arguments.iter().copied().chain(["--url", &url]).collect();
        returner(host.directory(), &arguments)
    };
    let list = run(&["dead", "list"]);
    assert!(list.expect(0).stdout.contains("full_ret") && list.stdout.contains("`wide`"), "{}", list.stdout);
    let show = run(&["dead", "show", &id]);
    assert!(show.expect(0).stdout.contains("dead replay"), "{}", show.stdout);
    run(&["dead", "drop"]).expect(2);
    let drop = run(&["dead", "drop", &id]);
    assert!(drop.expect(0).stdout.contains("1 dropped"), "{}", drop.stdout);
    let again = run(&["dead", "replay", &id]);
    assert!(again.expect(1).stderr.contains("1 of the 1 named are not there"), "{}", again.stderr);
    assert_eq!(listed(&host, "").await, Vec::<Value>::new());
    host.send(Method::DELETE, "/v1/dead-letters", "").await.problem_saying(400, "all=true");
    assert_eq!(host.returner("mysql").await["dead"], 0);
}

/// A constraint that the server checks at the commit: which item breaks it is found as with any
/// other.
#[tokio::test]
async fn what_the_commit_refuses_for_good_is_set_aside_alone() {
    let database = SqliteDatabase::new();
    database
        .execute(
            "CREATE TABLE minions (id TEXT PRIMARY KEY);
             INSERT INTO minions VALUES ('web1'), ('web2');
             CREATE TABLE trapping (jid TEXT, value TEXT, \
                id TEXT REFERENCES minions (id) DEFERRABLE INITIALLY DEFERRED);",
        )
        .await;
    let plugin = guest("trapping").await.display().to_string();
    let config = format!(
        "return: audit\naudit.plugin: {plugin}\naudit.connections: {{db: sqlite3}}\n{}",
        database.config()
    );
    let host = Host::start(&config).await;
    let jid = new_jid();
    let items: Value =
        ["web1", "nobody", "web2"].iter().map(|minion| ret(&jid, minion, "test.ping", json!(1))).collect();
    host.post("/v1/returns", &items).await.expect(202);
    host.wait_drained("audit").await;
    let rows: Vec<(String,)> = database.rows("SELECT id FROM trapping ORDER BY id").await;
    assert_eq!(rows, [("web1".to_owned(),), ("web2".to_owned(),)]);
    let letters = host.get("/v1/dead-letters").await.expect(200).json();
    let letters = letters["dead_letters"].as_array().expect("a list");
    assert_eq!(letters.len(), 1, "{letters:?}");
    let said = letters[0].to_string();
    assert!(said.contains("nobody") && said.contains("FOREIGN KEY"), "{said}");
}

/// There is room for 64 lanes beside the declared ones: the others are begun as those have nothing
/// to do any more.
#[tokio::test]
async fn of_more_lanes_than_there_is_room_for_all_are_tried() {
    const LANES: usize = 66;
    let database = SqliteDatabase::new();
    let mut host = Host::start(&database.config()).await;
    host.wait_set_up("sqlite3").await;
    database.refuse_bad().await;
    for number in 1..=LANES {
        let mut item = ret(&new_jid(), "bad", "test.ping", json!(number));
        item["ret_kwargs"] = json!({"timeout": number});
        until("room for its lane", async || match host.post("/v1/returns", &item).await.status {
            202 => Ok(()),
            status => Err(status),
        })
        .await;
    }
    wait_dead(&host, LANES).await;
    host.kill();
    host.restart().await;
    database.execute("DROP TRIGGER refuses").await;
    let answer = host.post("/v1/dead-letters/replay?all=true", &json!(null)).await.expect(200).json();
    assert_eq!(answer["replayed"], LANES);
    until("all to be stored", async || {
        let count = database.count("salt_returns").await;
        if count == LANES as i64 { Ok(()) } else { Err(format!("{count}\n{}", host.log())) }
    })
    .await;
    // Of those that ended nothing is left to be told.
    let metrics = host.get("/metrics").await.text;
    let told = metrics.lines().filter(|line| line.starts_with("returner_items_stored_total{")).count();
    assert!(told <= 65, "{told}");
}
