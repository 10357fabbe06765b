//! The servers themselves: that they start, keep their data, and come back.

use std::time::Duration;

use mongodb::bson::doc;
use returner_servers::{Flavour, Mariadb, Mongodb, Redis, Salt, Server};
use serde_json::{Map, json};

#[tokio::test]
async fn mariadb_comes_back_with_its_data() {
    let mut server = Mariadb::start().await;
    let database = server.database().await;
    database.execute("CREATE TABLE t (a INT); INSERT INTO t VALUES (7)").await;
    server.kill();
    assert!(database.try_rows::<(i32,)>("SELECT a FROM t").await.is_err());
    server.restart().await;
    assert_eq!(database.rows::<(i32,)>("SELECT a FROM t").await, [(7,)]);
}

#[tokio::test]
async fn redis_comes_back_with_its_data() {
    let mut server = Redis::start().await;
    let (one, other) = (server.database().await, server.database().await);
    let _: () = one.ask(&["SET", "a", "7"]).await;
    assert_eq!((one.keys().await, other.keys().await), (vec!["a".to_owned()], Vec::new()));
    server.kill();
    assert!(one.try_ask::<String>(&["GET", "a"]).await.is_err());
    server.restart().await;
    assert_eq!(one.ask::<String>(&["GET", "a"]).await, "7");
}

#[tokio::test]
async fn both_mongodb_servers_answer_and_come_back() {
    for flavour in [Flavour::Nx, Flavour::Ferret] {
        let mut server = Mongodb::start(flavour).await;
        let database = server.database();
        assert_eq!(database.count("jobs").await, 0);
        server.kill();
        assert!(database.try_find("jobs", doc! {}).await.is_err());
        server.restart().await;
        assert_eq!(database.count("jobs").await, 0);
    }
}

#[tokio::test]
async fn a_paused_server_hangs_until_it_is_resumed() {
    let mut server = Mariadb::start().await;
    let database = server.database().await;
    server.pause();
    let mut asked = tokio::spawn(async move { database.rows::<(i32,)>("SELECT 1").await });
    let answered = tokio::time::timeout(Duration::from_secs(2), &mut asked).await;
    assert!(answered.is_err(), "it was answered: {answered:?}");
    server.resume();
    assert_eq!(asked.await.expect("the question is answered"), [(1,)]);
}

#[test]
fn salt_answers_with_results_and_with_what_it_raised() {
    let mut salt = Salt::start(&Map::new());
    assert_eq!(
        salt.call("mysql", "prep_jid", [json!(false), json!("20260214093012345678")]),
        "20260214093012345678"
    );
    let error = salt.try_call("sqlite3", "get_jid", [json!("1")]).expect_err("there is no database");
    assert!(error.contains("sqlite3.database"), "{error}");
    assert!(salt.try_call("nowhere", "returner", [json!({})]).is_err());
}
