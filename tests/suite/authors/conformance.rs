//! The conformance kit: it passes what keeps to the contract, on real servers, and each of its
//! checks finds the plugin that breaks what it checks.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use returner_servers::{Directory, Mariadb, Mongodb, Redis, Run, SqliteDatabase, guest, returner};
use serde_json::Value;

/// Enough to tell a leak, and no more.
const CALLS: &str = "2000";

fn test(directory: &Directory, plugin: &str, more: &[&str]) -> Run {
    returner(directory.path(), &[&["plugins", "test", plugin, "--calls", CALLS], more].concat())
}

/// The verdicts by the names of the checks, and why.
fn verdicts(run: &Run) -> BTreeMap<String, (String, String)> {
    let report = run.json();
    let checked = report["checked"].as_array().expect("a report has what was checked");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let one = |one: &Value| (text(&one["name"]), (text(&one["verdict"]), one["why"].to_string()));
    checked.iter().map(one).collect()
}

fn named(verdicts: &BTreeMap<String, (String, String)>, wanted: &str) -> BTreeSet<String> {
    verdicts.iter().filter(|(_, (verdict, _))| verdict == wanted).map(|(name, _)| name.clone()).collect()
}

/// All that the kit has was looked at and holds.
#[track_caller]
fn assert_conforms(run: &Run, not_tried: &[&str]) {
    let verdicts = verdicts(run);
    assert_eq!(named(&verdicts, "failed"), BTreeSet::new(), "{verdicts:#?}");
    let expected: BTreeSet<String> = not_tried.iter().map(|&name| name.to_owned()).collect();
    assert_eq!(named(&verdicts, "not-tried"), expected, "{verdicts:#?}");
    assert_eq!(verdicts.len(), 16);
    run.expect(0);
}

#[tokio::test]
async fn the_bundled_four_conform() {
    let directory = Directory::new("conformance");
    // The check of memory is about the plugin, and not about these servers.
    let conforms = |plugin: &str, url: &str, not_tried: &[&str]| {
        let connection = format!("db={url}");
        let words = ["plugins", "test", plugin, "--calls", "200", "--connection", &connection, "--json"];
        assert_conforms(&returner(directory.path(), &words), not_tried);
    };
    conforms("sqlite3", "sqlite::memory:", &[]);
    conforms("mysql", &Mariadb::shared().await.database().await.url(), &[]);
    // Nothing has to be there before Redis takes it.
    conforms("redis", &Redis::shared().await.database().await.url(), &["setup-faults"]);
    // Not on FerretDB: for an update by anything but `_id` it looks through all documents, so
    // that a hundred of them among a thousand take longer than a call may.
    conforms("mongo", &Mongodb::shared().await.database().url(), &[]);
}

/// Salt's own table has no place for the whole return; that it came before is seen all the same.
#[tokio::test]
async fn the_tables_of_salts_manual_have_each_return_once() {
    let database = SqliteDatabase::new();
    database.execute(crate::oracle::sqlite::SALTS).await;
    let connection = format!("db=sqlite:{}", database.options()[0].1);
    let directory = Directory::new("conformance");
    let run = test(&directory, "sqlite3", &["--connection", &connection, "--json"]);
    let verdicts = verdicts(&run);
    for wanted in ["failed", "not-tried"] {
        assert!(!named(&verdicts, wanted).contains("redelivery"), "{verdicts:#?}");
    }
}

#[tokio::test]
async fn each_check_finds_the_plugin_that_breaks_it() {
    let (broken, nameless) = (guest("broken").await, guest("nameless").await);
    let directory = Directory::new("conformance");
    let granted = ["--connection", "db=sqlite::memory:", "--json"];
    let sound = test(&directory, &shown(&broken), &granted);
    assert_conforms(&sound, &[]);
    for check in verdicts(&sound).into_keys().filter(|check| check != "describe") {
        let option = format!("break={check}");
        let run = test(&directory, &shown(&broken), &[&granted[..], &["--option", &option]].concat());
        let found = named(&verdicts(&run), "failed");
        assert!(found.contains(&check), "what breaks `{check}` was found by {found:?} only");
        assert_eq!(run.code, Some(1), "{}", run.stderr);
    }
    let run = test(&directory, &shown(&nameless), &["--json"]);
    let verdicts = verdicts(&run);
    assert_eq!(named(&verdicts, "failed"), BTreeSet::from(["describe".to_owned()]));
    // It keeps nothing, and that is not taken for a success.
    let not_tried = named(&verdicts, "not-tried");
    assert!(["faults", "redelivery"].iter().all(|&name| not_tried.contains(name)), "{not_tried:?}");
}

/// That nothing can go to a peer is a failure like any other, and so is a connection that breaks
/// off in the middle.
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_cannot_be_reached_is_a_failure() {
    let broken = guest("broken").await;
    let directory = Directory::new("conformance");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let peer = listener.local_addr().expect("it is bound");
    let receiver = tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            tokio::spawn(async move { tokio::io::copy(&mut connection, &mut tokio::io::sink()).await });
        }
    });
    let (allowed, option) = (format!("tcp://{peer}"), format!("peer={peer}"));
    let granted = ["--connection", "db=sqlite::memory:", "--allow-connect", &allowed, "--option", &option];
    let granted = [&granted[..], &["--real-sockets", "--json"]].concat();
    let kit = |more: &[&str]| test(&directory, &shown(&broken), &[&granted[..], more].concat());
    assert_conforms(&kit(&[]), &[]);
    for (option, call, wrong) in [
        ("break=sockets", "connect to", "did not try again"),
        ("break=sent", "write to", "it answers that all is stored, but what was sent by TCP has "),
    ] {
        let verdicts = verdicts(&kit(&["--option", option]));
        assert_eq!(named(&verdicts, "failed"), BTreeSet::from(["faults".to_owned()]), "{verdicts:#?}");
        let why = &verdicts["faults"].1;
        assert!(why.contains(&format!("{call} tcp://{peer}")) && why.contains(wrong), "{why}");
    }
    receiver.abort();
}

/// Nor is all well because there was an answer.
#[tokio::test]
async fn an_answer_that_says_no_is_a_failure_like_any_other() {
    let broken = guest("broken").await;
    let directory = Directory::new("conformance");
    let (redis, mongo) = (Redis::shared().await.database().await, Mongodb::shared().await.database());
    let (cache, documents) = (format!("cache={}", redis.url()), format!("documents={}", mongo.url()));
    let hook = "http://hook.example";
    for (way, granted, found) in [
        ("hook=http://hook.example/", ["--allow-http", hook], &["it answers 503", "it answers 400"][..]),
        (
            "cache=cache",
            ["--connection", &cache],
            &["one command is answered: not now", "one command is answered: never"],
        ),
        ("documents=documents", ["--connection", &documents], &["one operation is refused"]),
    ] {
        let kit = |more: &[&str]| {
            let words = ["--connection", "db=sqlite::memory:", "--option", way, "--json"];
            test(&directory, &shown(&broken), &[&words[..], &granted, more].concat())
        };
        assert_conforms(&kit(&[]), &[]);
        let verdicts = verdicts(&kit(&["--option", "break=answers"]));
        assert_eq!(named(&verdicts, "failed"), BTreeSet::from(["faults".to_owned()]), "{verdicts:#?}");
        let why = &verdicts["faults"].1;
        assert!(found.iter().all(|words| why.contains(words)), "{why}");
    }
}

#[tokio::test]
async fn a_report_is_for_people_and_for_machines() {
    let broken = guest("broken").await;
    let directory = Directory::new("conformance");
    let granted = ["--connection", "db=sqlite::memory:", "--option", "break=faults", "--junit", "report.xml"];
    let run = test(&directory, &shown(&broken), &granted);
    let out = &run.expect(1).stdout;
    for words in
        ["broken 0.1.0\n", "ok         one  ", "FAILED     faults", "it answers that all is stored, but "]
    {
        assert!(out.contains(words), "nothing of `{words}`: {out}");
    }
    assert_eq!(run.stderr, "error: `broken 0.1.0` fails 1 check\n");
    let xml = std::fs::read_to_string(directory.path().join("report.xml")).expect("a report was written");
    for words in [
        r#"<testsuite name="broken 0.1.0" tests="16" "#,
        r#"<testcase name="one" classname="conformance""#,
        "<failure message=\"a call of the host that fails",
    ] {
        assert!(xml.contains(words), "nothing of `{words}`: {xml}");
    }
}

#[tokio::test]
async fn a_store_with_something_in_it_is_left_alone() {
    let database = Mariadb::shared().await.database().await;
    database.execute("CREATE TABLE precious (a INT)").await;
    database.execute("INSERT INTO precious VALUES (1)").await;
    let directory = Directory::new("conformance");
    let run = test(&directory, "mysql", &["--connection", &format!("db={}", database.url())]);
    let said = &run.expect(2).stderr;
    assert!(said.contains("`precious`") && said.contains("hint: name an empty database"), "{said}");
    assert_eq!(database.count("precious").await, 1);
    let run = test(&directory, "redis", &["--connection", "db=redis://127.0.0.1:1/0"]);
    assert!(run.expect(2).stderr.contains("the connection `db`"), "{}", run.stderr);
}

/// The grants of a plugin stand beside it, in the host's own words, and hold here too.
#[tokio::test]
async fn what_its_configuration_grants_is_granted() {
    let broken = guest("broken").await;
    let directory = Directory::new("conformance");
    directory.write("broken.wasm", std::fs::read(&broken).expect("a plugin that was built can be read"));
    let grants = |tables: &str| {
        let lines = format!(
            "odd.plugin: broken.wasm\nodd.connections: {{db: {{connection: sqlite3, tables: {tables}}}}}\n"
        );
        directory.write("returner.yaml", lines);
        test(&directory, "broken.wasm", &["--json"])
    };
    let all = "[create, select, insert, update, delete]";
    assert_conforms(&grants(&format!("{{answers: {all}, loads: {all}, events: {all}}}")), &[]);
    let run = grants("{answers: [select]}");
    let verdicts = verdicts(&run);
    let (verdict, why) = &verdicts["one"];
    assert!(verdict == "failed" && why.contains("`odd` is not granted"), "{verdict}: {why}");
    directory.write("returner.yaml", "return: sqlite3\n");
    let run = test(&directory, "broken.wasm", &[]);
    assert!(
        run.expect(2).stderr.contains("no returner of `returner.yaml` has this plugin"),
        "{}",
        run.stderr
    );
    directory.write(
        "returner.yaml",
        "redis.host: localhost\nodd.plugin: broken.wasm\nodd.connections: {db: redis}\n",
    );
    let run = test(&directory, "broken.wasm", &[]);
    assert!(run.expect(2).stderr.contains("`--connection db=redis://"), "{}", run.stderr);
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
