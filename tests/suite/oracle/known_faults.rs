//! What is known to be wrong with Salt's own returners, where it is not a difference in what
//! is stored: each is seen to be so, and to be otherwise here. The numbers are those that the
//! other tests name; issues of Salt in brackets.

use mongodb::bson::doc;
use returner_servers::{
    Host, Mariadb, Mongodb, MysqlDatabase, Redis, Salt, Server, event, load, new_jid, ret, until,
};
use serde_json::{Map, Value, json};

use super::cases::options;
use super::mysql::pair;

/// The ids of the minions that have rows.
async fn minions(database: &MysqlDatabase) -> Vec<String> {
    let rows: Vec<(String,)> = database.rows("SELECT CAST(id AS CHAR) FROM salt_returns ORDER BY id").await;
    rows.into_iter().map(|(id,)| id).collect()
}

/// Faults 1 (21449) and 2 (22814, 53411): nobody hears of what was lost.
#[tokio::test]
async fn what_comes_while_the_database_is_down_is_lost() {
    let mut server = Mariadb::start().await;
    let (ours, salts) = pair(&server).await;
    let host = Host::start(&format!("return: mysql\nevent_return: mysql\n{}", ours.config())).await;
    let mut salt = Salt::start(&options("mysql", &salts.options()));
    let item = ret(&new_jid(), "web1", "test.ping", json!(true));
    let events = json!([event("a", json!({"b": 1}))]);
    server.kill();
    // A minion logs what it raises, and goes on.
    let _ = salt.try_call("mysql", "returner", [item.clone()]);
    let _ = salt.try_call("mysql", "event_return", [events.clone()]);
    host.post("/v1/returns", &item).await.expect(202);
    host.post("/v1/events", &events).await.expect(202);
    server.restart().await;
    host.wait_drained("mysql").await;
    assert_eq!((ours.count("salt_returns").await, ours.count("salt_events").await), (1, 1));
    assert_eq!((salts.count("salt_returns").await, salts.count("salt_events").await), (0, 0));
}

/// Fault 13 (43451): the first configuration that was used serves all that follow.
#[tokio::test]
async fn a_configuration_of_its_own_is_ignored_where_there_was_another() {
    let server = Mariadb::shared().await;
    let ((our_first, salts_first), (our_other, salts_other)) = (pair(server).await, pair(server).await);
    let mut both: Map<String, Value> = options("mysql", &salts_first.options());
    both.extend(options("alternative.mysql", &salts_other.options()));
    let mut salt = Salt::start(&both);
    let config = format!("return: mysql\n{}{}", our_first.config(), our_other.config_as("alternative.mysql"));
    let host = Host::start(&config).await;
    let plain = ret(&new_jid(), "web1", "test.ping", json!(true));
    let mut other = ret(&new_jid(), "web2", "test.ping", json!(true));
    other["ret_config"] = json!("alternative");
    for item in [&plain, &other] {
        let _ = salt.try_call("mysql", "returner", [item.clone()]);
        host.store("/v1/returns", item).await;
    }
    assert_eq!(
        (minions(&our_first).await, minions(&our_other).await),
        (vec!["web1".into()], vec!["web2".into()])
    );
    assert_eq!(minions(&salts_first).await, ["web1", "web2"], "fault 13");
    assert!(minions(&salts_other).await.is_empty());
}

/// Fault 16: a minion that sends its return again has two rows.
#[tokio::test]
async fn a_return_that_is_sent_again_is_there_twice() {
    let (ours, salts) = pair(Mariadb::shared().await).await;
    let host = Host::start(&format!("return: mysql\n{}", ours.config())).await;
    let mut salt = Salt::start(&options("mysql", &salts.options()));
    let item = ret(&new_jid(), "web1", "test.ping", json!(true));
    for _ in 0..2 {
        salt.call("mysql", "returner", [item.clone()]);
        host.store("/v1/returns", &item).await;
    }
    assert_eq!((ours.count("salt_returns").await, salts.count("salt_returns").await), (1, 2));
}

/// Fault 11 (55279, 69060): a job that nobody answered stays for ever.
#[tokio::test]
async fn a_job_without_returns_is_never_purged() {
    let (ours, salts) = pair(Mariadb::shared().await).await;
    let host = Host::start(&format!("return: mysql\n{}", ours.config())).await;
    let mut keep = options("mysql", &salts.options());
    keep.insert("keep_jobs_seconds".to_owned(), json!(1));
    let mut salt = Salt::start(&keep);
    // Its date is in its name.
    let jid = "20200214093012000001";
    salt.call("mysql", "save_load", [json!(jid), load(jid, "test.ping")]);
    host.store("/v1/loads", &load(jid, "test.ping")).await;
    salt.call("mysql", "clean_old_jobs", []);
    host.send(reqwest::Method::DELETE, "/v1/jobs?older_than=1s", "").await.expect(200);
    assert_eq!((ours.count("jids").await, salts.count("jids").await), (0, 1));
}

/// Fault 8 (22171): Salt's master saves the load again with each return.
#[tokio::test]
async fn a_load_that_is_saved_again_is_there_twice() {
    let server = Mongodb::shared().await;
    let (ours, salts) = (server.database(), server.database());
    let host = Host::start(&format!("return: mongo\n{}", ours.config())).await;
    let mut salt = Salt::start(&options("mongo", &salts.options()));
    let jid = new_jid();
    for _ in 0..2 {
        salt.call("mongo", "save_load", [json!(jid), load(&jid, "test.ping")]);
        host.store("/v1/loads", &load(&jid, "test.ping")).await;
    }
    assert_eq!(ours.find("jobs", doc! {}).await.len(), 1);
    assert_eq!(salts.find("jobs", doc! {}).await.len(), 2, "fault 8");
}

/// Fault 5 (63475): PyMongo 4 has no `inline_map_reduce`.
#[tokio::test]
async fn the_jobs_in_mongodb_cannot_be_listed() {
    let server = Mongodb::shared().await;
    let (ours, salts) = (server.database(), server.database());
    let host = Host::start(&format!("return: mongo\n{}", ours.config())).await;
    let mut salt = Salt::start(&options("mongo", &salts.options()));
    let jid = new_jid();
    let item = ret(&jid, "web1", "test.ping", json!(true));
    salt.call("mongo", "returner", [item.clone()]);
    host.store("/v1/loads", &load(&jid, "test.ping")).await;
    host.store("/v1/returns", &item).await;
    let listed = salt.try_call("mongo", "get_jids", []);
    assert!(
        listed.as_ref().is_err_and(|error| error.contains("map_reduce") || error.contains("Collection")),
        "{listed:?}"
    );
    let jobs = host.get("/v1/jobs").await.expect(200).json();
    assert_eq!(jobs["jobs"][0]["jid"], json!(jid), "{jobs}");
}

/// Fault 12: what a minion returned last has no end, whatever `keep_jobs_seconds` says.
#[tokio::test]
async fn the_newest_return_of_a_function_has_an_end() {
    let database = Redis::shared().await.database().await;
    let host = Host::start(&format!("return: redis\nkeep_jobs_seconds: 3600\n{}", database.config())).await;
    host.store("/v1/returns", &ret(&new_jid(), "web1", "test.ping", json!(true))).await;
    until("the key", async || {
        let keys = database.keys().await;
        if keys.iter().any(|key| key == "web1:test.ping") { Ok(()) } else { Err(format!("{keys:?}")) }
    })
    .await;
    let left: i64 = database.ask(&["TTL", "web1:test.ping"]).await;
    assert!((1..=3600).contains(&left), "{left}");
}
