//! A deadlock in MySQL: the host's transaction is the one that the server undoes, and its
//! returns come again.

use returner_servers::{Host, Mariadb, until};

use super::Sender;
use crate::bed::{mysql_only, settle};
use crate::items::Item;
use crate::oracle::none_may_die;
use crate::report::Summary;
use crate::stores::Stores;
use crate::targets::{Target, Targets};

/// What makes the other transaction the greater one: the server undoes the smaller.
const BALLAST: &str = "CREATE TABLE ballast (a INT) ENGINE=InnoDB";

/// How long the host has to run into the lock.
const TO_MEET: f64 = 0.7;

const ROUNDS: usize = 3;

pub(super) async fn run() -> Summary {
    let mariadb = Mariadb::start().await;
    let stores = Stores { mysql: Some(mariadb.database().await), ..Stores::default() };
    stores.mysql().execute(BALLAST).await;
    let mut host = Host::start(&mysql_only(stores.mysql())).await;
    let (sender, targets) = (Sender::default(), Targets::of(&[Target::Mysql]));
    for _ in 0..ROUNDS {
        // Ids in one gap of the index each, with a row between them.
        let (low, middle, high) = (items("a"), items("m"), items("z"));
        sender.must_send(&host, &middle, targets).await;
        host.wait_drained("mysql").await;
        let (low_jid, high_jid) = (low[0].jid.clone(), high[0].jid.clone());
        let other = async {
            // Takes the gap in which the host's second job falls; waits until the host
            // has written its first one and waits; then wants that.
            let statements = format!(
                "BEGIN; INSERT INTO ballast SELECT seq FROM seq_1_to_20000; \
                 SELECT * FROM salt_returns WHERE jid = '{high_jid}' FOR UPDATE; SELECT SLEEP({TO_MEET}); \
                 SELECT * FROM salt_returns WHERE jid = '{low_jid}' FOR UPDATE; COMMIT"
            );
            stores.mysql().execute(&statements).await;
        };
        let meet = async {
            until("the other session to hold its lock", async || match sleeping(&stores).await {
                0 => Err("it holds none"),
                _ => Ok(()),
            })
            .await;
            let both = [low, high].concat();
            sender.must_send(&host, &both, targets).await;
        };
        tokio::join!(other, meet);
        host.wait_drained("mysql").await;
    }
    let deadlocks: Vec<(String, String)> =
        stores.mysql().rows("SHOW GLOBAL STATUS LIKE 'Innodb_deadlocks'").await;
    assert!(deadlocks.iter().any(|(_, count)| count != "0"), "there was no deadlock: {deadlocks:?}");
    assert!(host.log().contains("eadlock"), "no deadlock reached the host:\n{}", host.log());
    settle(&mut host, &stores, &sender.ledger, &sender.counters, none_may_die).await
}

/// Two returns of a job whose id begins so.
fn items(prefix: &str) -> Vec<Item> {
    let mut items = Sender::items([200; 2]);
    for item in &mut items {
        item.jid = format!("{prefix}{}", item.jid);
        // One worker's.
        item.minion = "minion0".to_owned();
    }
    items.truncate(1);
    items
}

/// How many sessions sleep: the other one does when it holds its lock.
async fn sleeping(stores: &Stores) -> i64 {
    let query = "SELECT COUNT(*) FROM information_schema.processlist WHERE state = 'User sleep'";
    let rows: Vec<(i64,)> = stores.mysql().rows(query).await;
    rows.first().map_or(0, |(count,)| *count)
}
