//! The command line, against a running host and without one.

use returner_servers::{Host, SqliteDatabase, load, new_jid, ret, returner};
use serde_json::{Value, json};

#[track_caller]
fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("not JSON ({error}): {text}"))
}

#[tokio::test]
async fn send_takes_lines_and_arrays_and_names_the_lines_that_are_refused() {
    let database = SqliteDatabase::new();
    let host = Host::start(&database.config()).await;
    let (jid, url) = (new_jid(), host.url(""));
    let good = |minion: &str| ret(&jid, minion, "test.ping", json!(true));
    let directory = host.directory();
    let lines = format!("{}\n{{\"jid\": \"1\"}}\n\n{}\n", good("a"), good("b"));
    std::fs::write(directory.join("lines.ndjson"), lines).expect("a test's directory can be written to");
    let run = returner(directory, &["send", "lines.ndjson", "--url", &url, "--wait", "--json"]);
    let sent = parsed(&run.expect(4).stdout);
    assert_eq!((&sent["accepted"], &sent["refused"][0]["line"]), (&json!(2), &json!(2)), "{sent}");
    std::fs::write(directory.join("bad.json"), r#"[{"jid": "1"}]"#)
        .expect("a test's directory can be written to");
    let run = returner(directory, &["send", "bad.json", "--url", &url]);
    assert!(run.expect(4).stderr.contains("error: item 1: "), "an array has no lines: {}", run.stderr);
    let array = json!([good("c"), good("a")]).to_string();
    std::fs::write(directory.join("array.json"), array).expect("a test's directory can be written to");
    let run = returner(directory, &["send", "array.json", "--url", &url, "--wait", "--json"]);
    let sent = parsed(&run.expect(0).stdout);
    assert_eq!((&sent["accepted"], &sent["duplicates"]), (&json!(1), &json!(1)), "{sent}");
    assert_eq!(database.count("salt_returns").await, 3);
}

#[tokio::test]
async fn jobs_and_minions_are_shown() {
    let database = SqliteDatabase::new();
    let host = Host::start(&database.config()).await;
    let (jid, url) = (new_jid(), host.url(""));
    host.store("/v1/loads", &load(&jid, "test.ping")).await;
    host.store("/v1/returns", &ret(&jid, "web1", "test.ping", json!("an answer"))).await;
    let show = |arguments: &[&str]| {
        let arguments: Vec<&str> = arguments.iter().copied().chain(["--url", url.as_str()]).collect();
        let run = returner(host.directory(), &arguments);
        run.expect(0);
        run.stdout
    };
    assert_eq!(parsed(&show(&["jobs", "--json"]))["jobs"][0]["jid"], json!(jid));
    assert_eq!(parsed(&show(&["jobs", &jid, "--json"]))["returns"][0]["full"]["return"], "an answer");
    assert_eq!(parsed(&show(&["minions", "--json"]))["minions"], json!(["web1"]));
    for (arguments, words) in
        [(vec!["jobs"], jid.as_str()), (vec!["jobs", &jid], "an answer"), (vec!["minions"], "web1")]
    {
        let table = show(&arguments);
        assert!(table.contains(words), "{arguments:?}:\n{table}");
    }
}

#[tokio::test]
async fn without_a_host_it_says_so() {
    let directory = returner_servers::Directory::new("no-host");
    let url = format!("http://127.0.0.1:{}", returner_servers::free_port());
    let run = returner(directory.path(), &["minions", "--url", &url]);
    assert!(run.expect(3).stderr.contains(&url), "{}", run.stderr);
}

#[tokio::test]
async fn what_needs_no_host() {
    let directory = returner_servers::Directory::new("alone");
    let show = |arguments: &[&str]| {
        let run = returner(directory.path(), arguments);
        run.expect(0);
        run.stdout
    };
    let plugins = show(&["plugins"]);
    for name in crate::stores::NAMES {
        assert!(plugins.contains(name), "{plugins}");
    }
    assert!(show(&["plugins", "show", "mysql"]).contains("returns"));
    let nobody = returner(directory.path(), &["plugins", "show", "sqlite"]);
    assert!(nobody.expect(2).stderr.contains("`sqlite3`"), "{}", nobody.stderr);
    assert!(show(&["completions", "bash"]).contains("returner"));
    show(&["check"]);
    // The printed schemas are what the tables are made of.
    let sqlite = SqliteDatabase::new();
    sqlite.execute(&show(&["schema", "sqlite"])).await;
    assert_eq!(sqlite.count("salt_returns").await, 0);
    let mysql = returner_servers::Mariadb::shared().await.database().await;
    mysql.execute(&show(&["schema", "mysql"])).await;
    assert_eq!(mysql.count("salt_events").await, 0);
    let help = show(&["--help"]);
    assert!(help.contains("Exit codes"), "{help}");
}
