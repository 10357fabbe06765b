//! The oracle of `tests/faults`, for a short while: `returner-faults --help` has more.

use std::time::Duration;

use returner_faults::{Options, Scenario, Summary, run};

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
async fn memory_and_the_journal_stay_flat() {
    holds(Scenario::Soak, 30).await;
}
