//! The README's returner in Python, from a real minion to its table.

use returner_servers::{Directory, Host, Mariadb, Master, SaltVersion, build_python_plugin, returner, until};
use serde_json::json;

use super::url;
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
    let database = Mariadb::shared().await.database().await;
    database.execute(between(section, "mysql salt -e '", "'")).await;
    let own = between(section, "```yaml\n", "```").replace("who.wasm", &plugin.display().to_string());
    let config = format!("return: mysql\n{own}{}", database.config());
    let host = Host::start(&config).await;
    let master = Master::start(SaltVersion::V3008, "").await;
    let minion = master.minion("m1", &url(&host)).await;
    let roots = master.roots().display().to_string();
    let install = ["salt", "install", "--config", "returner.yaml", "--to", &roots];
    returner(host.directory(), &install).expect(0);
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
