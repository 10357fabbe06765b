//! The oracle of `tests/faults`, for a short while: `returner-faults --help` has more.

use std::time::Duration;

use returner_faults::{Options, Scenario, Summary, run};
use returner_servers::{Host, Mariadb, Server, SqliteDatabase, new_jid, ret, until};
use serde_json::{Value, json};

/// Fixed, so that a failure is the same for everyone. Longer runs take others.
const SEED: u64 = 20_260_214;

async fn holds(scenario: Scenario, seconds: u64) -> Summary {
    let options = Options::of(SEED, Duration::from_secs(seconds));
    println!("seed {SEED}");
    let summary = run(scenario, &options).await;
    println!("{summary}");
    summary
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_acknowledged_is_stored_whatever_fails() {
    let summary = holds(Scenario::Storm, 40).await;
    assert!(summary.faults > 20 && summary.acknowledged > 1000, "{summary}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_dropped_and_created_again() {
    holds(Scenario::TableDropped, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn returns_that_are_longer_than_the_servers_packets() {
    holds(Scenario::SmallPacket, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deadlocks_that_undo_the_hosts_transaction() {
    holds(Scenario::Deadlock, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_are_refused_while_servers_are_killed() {
    holds(Scenario::RefusedKeys, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full() {
    holds(Scenario::FullDisk, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_of_what_waits() {
    holds(Scenario::FullOfBacklog, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_can_only_be_read() {
    holds(Scenario::ReadOnlyDisk, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_that_fails_on_a_disk_without_room_for_a_copy() {
    holds(Scenario::FailedFlush, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_and_the_journal_stay_flat() {
    holds(Scenario::Soak, 60).await;
}

/// Rows are written, and the host is killed before its journal says so. It is started and
/// stopped while the database is away, which makes nothing of it clear: the returns must
/// still be looked for before they are written.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_left_unclear_is_so_after_a_clean_stop() {
    let mut server = Mariadb::start().await;
    let database = server.database().await;
    let mut host = Host::start(&format!("return: mysql\n{}", database.config())).await;
    let journal = SqliteDatabase::of_file(host.directory().join("data/journal/journal.db"));
    host.wait_drained("mysql").await;
    let mut sent = 0;
    loop {
        let jid = new_jid();
        let items: Value =
            (0..50).map(|number| ret(&jid, &format!("web{number}"), "test.ping", json!(number))).collect();
        host.post("/v1/returns", &items).await.expect(202);
        sent += 50;
        // The table is made by the lane, which takes its time.
        until("the rows to stand there", async || {
            match database.try_rows::<(i64,)>("SELECT COUNT(*) FROM salt_returns").await {
                Ok(rows) if rows == [(sent,)] => Ok(()),
                Ok(rows) => Err(format!("{rows:?} of {sent}")),
                Err(error) => Err(error.to_string()),
            }
        })
        .await;
        host.kill();
        let pending: Vec<(i64,)> = journal.rows("SELECT pending FROM lanes WHERE name = 'mysql'").await;
        if pending != [(0,)] {
            break;
        }
        assert!(sent < 2000, "the journal is always faster than the kill");
        host.restart().await;
    }
    server.kill();
    host.restart().await;
    assert!(host.stop().await.success(), "{}", host.log());
    server.restart().await;
    host.restart().await;
    host.wait_drained("mysql").await;
    assert_eq!(database.count("salt_returns").await, sent, "each return stands there once");
}
