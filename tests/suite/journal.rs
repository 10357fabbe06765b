//! The journal as an operator meets it: its check, its damage, its rescue, and a host that
//! starts with much to do.

use returner_servers::{Host, Mariadb, Server, SqliteDatabase, new_jid, ret, returner};
use serde_json::{Value, json};

fn returns(jid: &str, count: usize) -> Value {
    (0..count).map(|number| ret(jid, &format!("web{number}"), "test.ping", json!("x".repeat(400)))).collect()
}

#[tokio::test]
async fn a_damaged_journal_is_reported_and_rescued() {
    // Its server is away, so that everything stays in the journal.
    let mut server = Mariadb::start().await;
    let database = server.database().await;
    let mut host = Host::start(&format!("return: mysql\n{}", database.config())).await;
    server.kill();
    host.post("/v1/returns", &returns(&new_jid(), 50)).await.expect(202);
    assert!(host.terminate().success());
    let file = host.directory().join("data/journal/journal.db");
    let mut bytes = std::fs::read(&file).expect("the journal can be read");
    // SQLite may have left copies of a row where there is none any more.
    let places = bytes.windows(6).enumerate().filter(|(_, part)| part == b"\"web7\"");
    let places: Vec<usize> = places.map(|(at, _)| at).collect();
    assert!(!places.is_empty(), "the item is in the journal");
    for at in places {
        bytes[at + 4] = b'8';
    }
    std::fs::write(&file, bytes).expect("the journal can be written");

    let config = host.directory().join("returner.yaml").display().to_string();
    let run = |arguments: &[&str]| returner(host.directory(), &[arguments, &["--config", &config]].concat());
    for command in [&["journal", "check"][..], &["serve"]] {
        let refused = run(command);
        refused.expect(1);
        for words in ["is damaged", "`items`", "49 of the items", "journal rescue"] {
            assert!(
                refused.stderr.contains(words),
                "{command:?}: nothing of `{words}` in {}",
                refused.stderr
            );
        }
    }
    let rescued = run(&["journal", "rescue"]);
    rescued.expect(1);
    assert!(rescued.stdout.contains("saved 49 items"), "{}", rescued.stdout);
    assert!(rescued.stderr.contains("1 of 50 items of `mysql` are lost"), "{}", rescued.stderr);
    assert!(run(&["journal", "check"]).expect(0).stdout.contains("whole"));

    server.restart().await;
    let again = run(&["journal", "rescue"]);
    assert!(again.expect(0).stdout.contains("nothing to rescue"), "{}", again.stdout);
    host.restart().await;
    host.wait_drained("mysql").await;
    assert_eq!(database.count("salt_returns").await, 49);
    assert_eq!(database.count("salt_returns WHERE id = 'web8'").await, 1, "the true one");
}

#[tokio::test]
async fn a_journal_in_use_is_left_alone() {
    let database = SqliteDatabase::new();
    let host = Host::start(&database.config()).await;
    let config = host.directory().join("returner.yaml").display().to_string();
    for command in ["check", "rescue"] {
        let run = returner(host.directory(), &["journal", command, "--config", &config]);
        assert!(run.expect(1).stderr.contains("in use"), "{}", run.stderr);
    }
}

#[tokio::test]
async fn much_that_is_pending_is_all_there_after_a_kill() {
    let mut server = Mariadb::start().await;
    let database = server.database().await;
    let mut host = Host::start(&format!("return: mysql\n{}", database.config())).await;
    server.kill();
    for _ in 0..20 {
        host.post("/v1/returns", &returns(&new_jid(), 10_000)).await.expect(202);
    }
    host.kill();
    host.restart().await;
    assert_eq!(host.returner("mysql").await["depth"], 200_000);
}
