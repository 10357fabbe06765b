//! Reloads of all kinds, good and bad, while clients send: every acknowledged return stands
//! once in each store that it was meant for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use returner_servers::{Host, Mariadb, MysqlDatabase, SqliteDatabase, free_port, new_jid, ret};
use serde_json::json;

/// By hand, more: `RELOADS=200`.
const RELOADS: usize = 30;

const CLIENTS: usize = 4;

/// What is written, and whether it is to be taken.
fn version(number: usize, mysql: &MysqlDatabase, sqlite: &SqliteDatabase) -> (String, bool) {
    let base = format!("return: [mysql, sqlite3]\n{}{}", mysql.config(), sqlite.config());
    let more = match number % 10 {
        0 => format!("mysql.delivery.batch: {}\n", 10 + number),
        1 => format!("mysql.delivery.workers: {}\nsqlite3.limits.time: {}s\n", 1 + number % 4, 20 + number),
        2 => "mysql.hots: x\n".to_owned(),
        // A connection of its own, to the same database.
        3 => format!("mysql.limits.host_call: {}s\n", 10 + number % 7),
        4 => "return: [\n".to_owned(),
        // Another returner comes and goes.
        5 => mysql.config_as("more.mysql"),
        6 => format!("redis: {{host: 127.0.0.1, port: {}}}\n", free_port()),
        7 => "audit.plugin: nothing.wasm\n".to_owned(),
        8 => format!("sqlite3.delivery.workers: {}\n", 1 + number % 3),
        _ => String::new(),
    };
    (base + &more, !matches!(number % 10, 2 | 4 | 6 | 7))
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_doubled() {
    let mysql = Mariadb::shared().await.database().await;
    let sqlite = SqliteDatabase::new();
    let reloads = std::env::var("RELOADS").ok().and_then(|count| count.parse().ok()).unwrap_or(RELOADS);
    let host = Arc::new(Host::start(&version(9, &mysql, &sqlite).0).await);
    let (jid, done) = (new_jid(), Arc::new(AtomicBool::new(false)));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (host, jid, done) = (Arc::clone(&host), jid.clone(), Arc::clone(&done));
            tokio::spawn(async move {
                let mut sent = Vec::new();
                while !done.load(Ordering::Relaxed) {
                    let minion = format!("m{client}-{}", sent.len());
                    let item = ret(&jid, &minion, "test.arg", json!("x".repeat(200)));
                    host.post("/v1/returns", &item).await.expect(202);
                    sent.push(minion);
                }
                sent
            })
        })
        .collect();
    for number in 0..reloads {
        let (config, is_good) = version(number, &mysql, &sqlite);
        host.reload(&config).await.expect(if is_good { 200 } else { 422 });
    }
    done.store(true, Ordering::Relaxed);
    let mut acknowledged = Vec::new();
    for client in clients {
        acknowledged.extend(client.await.expect("a client does not fail"));
    }
    for name in ["mysql", "sqlite3"] {
        host.wait_drained(name).await;
    }
    let of_mysql: Vec<(String, i64)> = mysql.rows("SELECT id, COUNT(*) FROM salt_returns GROUP BY id").await;
    let of_sqlite: Vec<(String, i64)> =
        sqlite.rows("SELECT id, COUNT(*) FROM salt_returns GROUP BY id").await;
    for (name, rows) in [("mysql", of_mysql), ("sqlite3", of_sqlite)] {
        let stored: BTreeMap<String, i64> = rows.into_iter().collect();
        let missing: Vec<_> = acknowledged.iter().filter(|minion| !stored.contains_key(*minion)).collect();
        let doubled: Vec<_> = stored.iter().filter(|(_, count)| **count > 1).collect();
        assert!(
            missing.is_empty() && doubled.is_empty(),
            "{name}: of {} acknowledged, missing {missing:?}, doubled {doubled:?}",
            acknowledged.len()
        );
        assert_eq!(stored.len(), acknowledged.len(), "{name}");
    }
    println!("{} returns acknowledged during {reloads} reloads, all stored once", acknowledged.len());
}
