//! Crashes: what was acknowledged is stored, and in SQL it is stored once.

use reqwest::Method;
use returner_servers::{
    Flavour, Host, Mariadb, Mongodb, MysqlDatabase, Redis, Server, SqliteDatabase, new_jid, ret,
};
use serde_json::{Value, json};

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
