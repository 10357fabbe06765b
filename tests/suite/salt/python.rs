//! The README's returner in Python, from a real minion to its table.

use returner_servers::{Directory, Host, Mariadb, Master, SaltVersion, build_python_plugin, returner, until};
use serde_json::json;

use super::{install, url};
use crate::readme::{between, section};

#[tokio::test]
async fn a_returner_in_python_is_one_like_any_other() {
    let section = section("A returner of your own");
    let (_, section) = section.split_once("### In Python").expect("the README has the part");
    let sources = Directory::new("python");
    std::fs::create_dir(sources.path().join("who")).expect("a test's directory can be written to");
    sources.write("who/app.py", between(section, "<<'PY'\n", "PY\n"));
    let source = sources.path().join("who");
    let plugin = tokio::task::spawn_blocking(move || build_python_plugin(&source, "who")).await;
    let plugin = plugin.expect("it builds");
    let table = between(section, "mysql salt -e '", "'");
    tried_without_a_host(&sources, &plugin.display().to_string(), table);
    let database = Mariadb::shared().await.database().await;
    database.execute(table).await;
    let own = between(section, "```yaml\n", "```").replace("who.wasm", &plugin.display().to_string());
    let config = format!("return: mysql\n{own}{}", database.config());
    let host = Host::start(&config).await;
    let master = Master::start(SaltVersion::V3008, "").await;
    let minion = master.minion("m1", &url(&host)).await;
    install(&host, &master);
    until("the module to be listed", async || {
        master.salt(&["saltutil.sync_all"]);
        let listed = master.salt(&["sys.list_returners"]);
        let has = listed["m1"].as_array().is_some_and(|names| names.contains(&json!("who")));
        if has { Ok(()) } else { Err(format!("{listed}\n{}", minion.log())) }
    })
    .await;
    assert_eq!(master.salt(&["test.ping", "--return", "who"]), json!({"m1": true}));
    until("the row", async || {
        let rows: Vec<(String, String)> = database.rows("SELECT minion, fun FROM who").await;
        let is_it = rows == [("m1".to_owned(), "test.ping".to_owned())];
        if is_it { Ok(()) } else { Err(format!("{rows:?}\n{}", host.log())) }
    })
    .await;
}

/// `returner plugins run`.
fn tried_without_a_host(directory: &Directory, plugin: &str, table: &str) {
    let run = |more: &[&str]| returner(directory.path(), &[&["plugins", "run", plugin], more].concat());
    let granted = ["--connection", "db=sqlite::memory:", "--prepare", table];
    let report = run(&[&granted[..], &["--json"]].concat()).expect(0).json();
    assert_eq!((&report["stored"], &report["failure"]), (&json!(3), &json!(null)), "{report}");
    let call = report["calls"][0]["call"].as_str().unwrap_or_default();
    assert!(call.starts_with("sql.execute db: REPLACE INTO who") && call.contains("\"web2\""), "{report}");
    assert_eq!(report["calls"][0]["answer"], "3 rows changed");
    let shown = run(&granted);
    assert!(shown.expect(0).stdout.contains("stored 3 of 3, in "), "{}", shown.stdout);
    // Without the connection it says what is missing, as a host would.
    let denied = run(&[]);
    assert!(denied.expect(1).stderr.contains("the connection `db` is not granted"), "{}", denied.stderr);
    directory.write("returns.ndjson", "{\"jid\": 7}\n");
    let wrong = run(&["--returns", "returns.ndjson"]);
    assert!(
        wrong.expect(2).stderr.contains("the returns of `returns.ndjson`: number 1: "),
        "{}",
        wrong.stderr
    );
}
