//! What the README shows, as it stands there.

use std::fs;
use std::path::Path;

use returner_servers::{Directory, Host, Mariadb, build_plugin, new_jid, ret, returner};
use serde_json::json;

/// The README's lines from a heading to the next one.
pub(crate) fn section(heading: &str) -> String {
    let readme = include_str!("../../README.md");
    let (_, rest) = readme.split_once(&format!("\n## {heading}\n")).expect("the README has the heading");
    rest.split("\n## ").next().unwrap_or(rest).to_owned()
}

/// What is between two marks.
pub(crate) fn between<'a>(text: &'a str, begin: &str, end: &str) -> &'a str {
    let inner = text.split_once(begin).and_then(|(_, rest)| rest.split_once(end));
    inner.unwrap_or_else(|| panic!("nothing between `{begin}` and `{end}`")).0
}

#[tokio::test]
async fn a_returner_of_ones_own_stores_in_the_table_of_its_own() {
    let section = section("A returner of your own");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let directory = Directory::new("readme");
    let sdk = root.join("plugins/sdk").display().to_string();
    let manifest = between(&section, "<<'TOML'\n", "TOML\n").replace("../plugins/sdk", &sdk);
    fs::create_dir_all(directory.path().join("audit/src")).expect("a test's directory can be written to");
    directory.write("audit/Cargo.toml", manifest);
    directory.write("audit/src/lib.rs", between(&section, "<<'RUST'\n", "RUST\n"));
    // The same libraries on every day. It has more than the plugin needs, so it is not `--locked`.
    let locked = fs::read(root.join("Cargo.lock")).expect("the project has one");
    directory.write("audit/Cargo.lock", locked);
    let source = directory.path().join("audit");
    let plugin = tokio::task::spawn_blocking(move || build_plugin(&source, "audit", &[])).await;
    let plugin = plugin.expect("it builds").display().to_string();

    let shown = returner(directory.path(), &["plugins", "show", &plugin]);
    assert!(shown.expect(0).stdout.contains("sql"), "{}", shown.stdout);
    let database = Mariadb::shared().await.database().await;
    database.execute(between(&section, "mysql salt -e '", "'")).await;
    let own = between(&section, "```yaml\n", "```");
    let own = own.replace("audit/target/wasm32-wasip2/release/audit.wasm", &plugin);
    let host = Host::start(&format!("{own}{}", database.config())).await;
    for arguments in [&["plugins"][..], &["plugins", "show", "audit"]] {
        let run = returner(host.directory(), &[arguments, &["--config", "returner.yaml"]].concat());
        assert!(run.expect(0).stdout.contains("audit"), "{}", run.stdout);
    }
    let jid = new_jid();
    host.store("/v1/returns", &ret(&jid, "web1", "test.ping", json!(true))).await;
    let rows: Vec<(String, String, String)> = database.rows("SELECT jid, minion, fun FROM audit").await;
    assert_eq!(rows, [(jid, "web1".to_owned(), "test.ping".to_owned())]);
    assert_eq!(database.count("salt_returns").await, 1);

    // A table of another name is not reached, and the reason says what is missing.
    let other = own.replace("tables: {audit:", "tables: {other:");
    assert_ne!(own, other, "the README grants one table");
    host.reload(&format!("{other}{}", database.config())).await.expect(200);
    host.post("/v1/returns", &ret(&new_jid(), "web2", "test.ping", json!(true))).await.expect(202);
    host.wait_drained("audit").await;
    let dead = host.get("/v1/dead-letters").await.expect(200).json();
    let reason = dead["dead_letters"][0]["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("is not granted `insert` on the table `audit`"), "{dead}");
    assert_eq!(database.count("audit").await, 1);
}

/// Its servers are not there; everything else is right.
#[test]
fn the_configuration_of_the_bundled_returners_is_one() {
    let section = section("The bundled returners");
    let directory = Directory::new("readme");
    directory.write(
        "returner.yaml",
        between(&section, "<<'YAML'\n", "YAML\n").replace("{env: MYSQL_PASSWORD}", "secret"),
    );
    let run = returner(directory.path(), &["check", "--config", "returner.yaml"]);
    run.expect(0);
    for name in ["mysql", "redis", "mongo"] {
        assert!(run.stdout.contains(name), "nothing of {name}:\n{}", run.stdout);
    }
}
