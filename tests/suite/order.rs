//! Order: what a minion answered stands in a store in the order in which it was accepted,
//! and a job before its answers, also where the server was away meanwhile.

use std::time::Duration;

use futures_util::future::join_all;
use returner_servers::{Host, Mariadb, MysqlDatabase, Server, SqliteDatabase, load, new_jid, ret, until};
use serde_json::{Value, json};

const MINIONS: usize = 12;
const ROUNDS: usize = 40;

/// Small batches and many workers: whatever can overtake does.
async fn start(mysql: &MysqlDatabase, sqlite: &SqliteDatabase) -> Host {
    let hurry = |name: &str| format!("{name}.delivery: {{batch: 16, workers: 4, max_backoff: 1s}}\n");
    let config = [mysql.config(), sqlite.config(), hurry("mysql"), hurry("sqlite3")].concat();
    Host::start(&format!("return: [mysql, sqlite3]\nmaster_job_cache: mysql\n{config}")).await
}

/// Kills a server in the middle, and brings it back.
async fn outage(server: &mut Mariadb) {
    tokio::time::sleep(Duration::from_millis(150)).await;
    server.kill();
    server.restart().await;
}

async fn delivered(host: &Host) {
    for name in ["mysql", "sqlite3"] {
        host.wait_drained(name).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn returns_of_a_minion_are_stored_as_they_were_accepted() {
    let mut server = Mariadb::start().await;
    let (mysql, sqlite) = (server.database().await, SqliteDatabase::new());
    let host = start(&mysql, &sqlite).await;
    let minions = join_all((0..MINIONS).map(async |minion| {
        for round in 0..ROUNDS {
            let count = if round % 5 == 0 { 3 } else { 1 };
            let one = |_| ret(&new_jid(), &format!("web{minion}"), "test.ping", json!(round));
            host.post("/v1/returns", &(0..count).map(one).collect::<Value>()).await.expect(202);
        }
    }));
    tokio::join!(minions, outage(&mut server));
    delivered(&host).await;

    let in_mysql: Vec<(String, String)> =
        mysql.rows("SELECT id, jid FROM salt_returns ORDER BY id, seq").await;
    let in_sqlite: Vec<(String, String)> =
        sqlite.rows("SELECT id, jid FROM salt_returns ORDER BY id, rowid").await;
    for (store, rows) in [("MySQL", in_mysql), ("SQLite", in_sqlite)] {
        assert_eq!(rows.len(), MINIONS * (ROUNDS + 2 * ROUNDS / 5), "{store}");
        // A later job id is a greater one.
        let overtaken = rows.windows(2).find(|pair| pair[0].0 == pair[1].0 && pair[0].1 >= pair[1].1);
        assert_eq!(overtaken, None, "{store}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_is_stored_before_the_returns_of_its_job() {
    let mut server = Mariadb::start().await;
    let (mysql, sqlite) = (server.database().await, SqliteDatabase::new());
    let host = start(&mysql, &sqlite).await;
    host.store("/v1/returns", &ret(&new_jid(), "web", "test.ping", json!(true))).await;
    // The databases themselves take down each return whose job they do not know yet.
    mysql
        .execute(
            "CREATE TABLE early (jid varchar(255));
             CREATE TRIGGER watch BEFORE INSERT ON salt_returns FOR EACH ROW
             INSERT INTO early SELECT NEW.jid FROM dual WHERE NOT EXISTS (SELECT 1 FROM jids WHERE jid = NEW.jid)",
        )
        .await;
    sqlite
        .execute(
            "CREATE TABLE early (jid TEXT);
             CREATE TRIGGER watch BEFORE INSERT ON salt_returns
             WHEN NOT EXISTS (SELECT 1 FROM jids WHERE jid = NEW.jid)
             BEGIN INSERT INTO early VALUES (NEW.jid); END",
        )
        .await;
    let jobs = join_all((0..MINIONS).map(async |minion| {
        for round in 0..ROUNDS {
            let jid = new_jid();
            let path = "/v1/loads?returner=mysql,sqlite3";
            host.post(path, &load(&jid, "test.ping")).await.expect(202);
            let answer = ret(&jid, &format!("web{minion}"), "test.ping", json!(round));
            host.post("/v1/returns", &answer).await.expect(202);
        }
    }));
    tokio::join!(jobs, outage(&mut server));
    delivered(&host).await;

    let all = i64::try_from(MINIONS * ROUNDS).expect("it is small");
    assert_eq!((mysql.count("jids").await, mysql.count("salt_returns").await), (all, all + 1));
    assert_eq!((sqlite.count("jids").await, sqlite.count("salt_returns").await), (all, all + 1));
    assert_eq!(
        (mysql.count("early").await, sqlite.count("early").await),
        (0, 0),
        "returns before their load"
    );
    // The watch does see one.
    host.store("/v1/returns", &ret(&new_jid(), "web", "test.ping", json!(true))).await;
    assert_eq!((mysql.count("early").await, sqlite.count("early").await), (1, 1));
}

/// A stop in the middle of an outage leaves more behind than one window takes up again.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_while_the_server_is_away_changes_no_order() {
    let mut server = Mariadb::start().await;
    let mysql = server.database().await;
    let mut host = Host::start(&format!("return: mysql\n{}", mysql.config())).await;
    host.store("/v1/returns", &ret(&new_jid(), "web1", "test.ping", json!(0))).await;
    server.kill();
    for _ in 0..8 {
        let loads: Value = (0..200).map(|_| load(&new_jid(), "test.ping")).collect();
        host.post("/v1/loads", &loads).await.expect(202);
    }
    for _ in 0..8 {
        let items: Value = (0..400).map(|_| ret(&new_jid(), "web1", "test.ping", json!(1))).collect();
        host.post("/v1/returns", &items).await.expect(202);
    }
    until("the lane to try", async || {
        let entry = host.returner("mysql").await;
        if entry["state"] == "retrying" { Ok(()) } else { Err(entry) }
    })
    .await;
    assert!(host.stop().await.success(), "{}", host.log());
    server.restart().await;
    mysql.execute(ORDERED).await;
    host.restart().await;
    host.wait_drained("mysql").await;
    let rows: Vec<(String,)> = mysql.rows("SELECT jid FROM salt_returns ORDER BY seq").await;
    assert_eq!(rows.len(), 3201);
    let overtaken = rows.windows(2).find(|pair| pair[0].0 >= pair[1].0);
    assert_eq!(overtaken, None);
    let early: Vec<(i64,)> = mysql.rows("SELECT COUNT(*) FROM salt_returns WHERE early").await;
    assert_eq!(early, [(0,)], "returns that were stored before a load that was accepted before them");
}

/// Notes of each return whether a load was missing when it came.
const ORDERED: &str = "ALTER TABLE salt_returns ADD early BOOLEAN NOT NULL DEFAULT FALSE;
    CREATE TRIGGER in_order BEFORE INSERT ON salt_returns
    FOR EACH ROW SET NEW.early = (SELECT COUNT(*) FROM jids) < 1600";
