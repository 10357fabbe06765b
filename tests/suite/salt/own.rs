//! Salt's own tests of a job cache, out of its source distributions, run through the modules
//! that the host writes. `tests/salt/own/expected.py` lists what comes of each.

use returner_servers::{Host, Master, SaltVersion, SqliteDatabase, returner};
use serde_json::json;

use super::{of_both_versions, url};

of_both_versions!(salts_own_tests_come_out_as_they_are_listed);

async fn salts_own_tests_come_out_as_they_are_listed(version: SaltVersion) {
    let sqlite = SqliteDatabase::new();
    let host = Host::start(&format!("return: sqlite3\n{}", sqlite.config())).await;
    let roots = host.directory().join("srv");
    std::fs::create_dir(&roots).expect("a test's directory can be written to");
    returner(host.directory(), &["salt", "install", "--config", "returner.yaml", "--to", "srv"]).expect(0);
    let modules = roots.join("_returners");
    let config = format!("{}returner_dirs: [{}]\n", url(&host), modules.display());
    let master = Master::start(version, &format!("{config}master_job_cache: sqlite3\n")).await;
    let minion = master.minion("m1", &config).await;
    let world = json!({
        "source": version.source(),
        "url": host.url(""),
        "database": sqlite.options()[0].1,
        "modules": modules,
        "master": master.config_file(),
        "minion": minion.config_file(),
        "cache": master.cache(),
        "id": "m1",
    });
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/../salt/own/main.py");
    let run = master.python(&[program, &world.to_string()]);
    assert!(run.code == Some(0), "{}\n{}", run.stdout, run.stderr);
    println!("{}", run.stdout);
}
