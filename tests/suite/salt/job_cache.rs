//! The host as `master_job_cache`, and `event_return`.

use returner_servers::{Mariadb, MysqlDatabase, PATIENCE, SaltVersion, Server, until, until_within};
use serde_json::json;

use super::{Fixture, of_both_versions, url};

of_both_versions!(a_master_has_its_jobs_there);

/// A fixture whose master has its jobs in MySQL.
async fn fixture(version: SaltVersion) -> Fixture {
    let mut fixture = Fixture::new(version).await;
    fixture.master.command("salt-run", &["saltutil.sync_returners"]).expect(0);
    let config = format!(
        "{}master_job_cache: mysql\nevent_return: mysql\njob_cache_store_endtime: true\n\
         returner.read_timeout: 600\n",
        url(&fixture.host)
    );
    fixture.master.restart(&config).await;
    fixture.master.wait_for(&fixture.minion).await;
    fixture
}

async fn a_master_has_its_jobs_there(version: SaltVersion) {
    let mut fixture = fixture(version).await;
    let master = &fixture.master;
    // `salt` itself asks for the load right after it published.
    assert_eq!(master.salt(&["test.echo", "one"]), json!({"m1": "one"}));
    let printed = master.command("salt", &["--async", "*", "test.echo", "two"]);
    let jid = printed.stdout.split_whitespace().last().unwrap_or_default().to_owned();
    let found = until("the job's return", async || {
        let found = master.runner(&["jobs.lookup_jid", &jid]);
        if found == json!({"m1": "two"}) { Ok(found) } else { Err(format!("{found}\n{}", master.log())) }
    })
    .await;
    assert_eq!(found, json!({"m1": "two"}));

    let jobs = master.runner(&["jobs.list_jobs"]);
    let job = &jobs[&jid];
    assert_eq!((&job["Function"], &job["Arguments"]), (&json!("test.echo"), &json!(["two"])), "{jobs}");
    assert_eq!((&job["Target"], &job["Target-type"]), (&json!("*"), &json!("glob")), "{jobs}");
    let filtered = master.runner(&["jobs.list_jobs", "search_function=test.echo"]);
    assert_eq!(filtered.as_object().map(serde_json::Map::len), Some(2), "{filtered}");

    let job = master.runner(&["jobs.print_job", &jid]);
    assert_eq!(job[&jid]["Result"]["m1"]["return"], "two", "{job}");
    assert_eq!(job[&jid]["Function"], "test.echo", "the returns did not take the load's place: {job}");
    let ended = job[&jid]["EndTime"].as_str().unwrap_or_default();
    assert!(ended > job[&jid]["StartTime"].as_str().unwrap_or("~"), "{job}");
    let last = master.runner(&["jobs.last_run", "function=test.echo"]);
    assert!(last.get(&jid).is_some(), "{last}");
    assert_eq!(master.runner(&["jobs.active"]), json!({}));
    let asked = master.salt(&["ret.get_fun", "mysql", "test.echo"]);
    assert_eq!(asked["m1"]["m1"]["return"], "two", "{asked}");
    assert_eq!(
        master.salt(&["ret.get_minions", "mysql"])["m1"].as_array().map(|names| names.contains(&json!("m1"))),
        Some(true)
    );

    // Each event once, with the master's name.
    until("the events", async || {
        let query = "SELECT CAST(tag AS CHAR), CAST(master_id AS CHAR) FROM salt_events";
        let rows: Vec<(String, String)> = fixture.mysql.rows(query).await;
        let new: Vec<&(String, String)> =
            rows.iter().filter(|(tag, _)| *tag == format!("salt/job/{jid}/new")).collect();
        let returned = rows.iter().any(|(tag, _)| *tag == format!("salt/job/{jid}/ret/m1"));
        if new.len() == 1 && returned && new[0].1.ends_with("_master") {
            Ok(())
        } else {
            Err(format!("{rows:?}"))
        }
    })
    .await;
    a_master_goes_on_without_the_host(&mut fixture).await;
    a_job_has_the_returns_of_both_minions(&fixture).await;
}

/// As `salt` does: publishes, asks for the load, and waits for the answers.
async fn a_master_goes_on_without_the_host(fixture: &mut Fixture) {
    // It hangs: what it would be asked is known here, so that no question waits for it.
    fixture.host.pause();
    let printed = fixture.master.command("salt", &["*", "test.ping", "--out=json"]);
    fixture.host.resume();
    assert_eq!(printed.expect(0).json(), json!({"m1": true}), "{}", printed.stderr);
    fixture.host.kill();
    let printed = fixture.master.command("salt", &["*", "test.echo", "three", "--out=json"]);
    assert_eq!(printed.expect(0).json(), json!({"m1": "three"}), "{}", printed.stderr);
    fixture.host.restart().await;
    // What the master has kept goes out with its next job.
    fixture.master.salt(&["test.echo", "four"]);
    fixture.in_mysql("test.echo", &json!("three")).await;
    fixture.in_mysql("test.echo", &json!("four")).await;
    let jobs = fixture.master.runner(&["jobs.list_jobs", "search_function=test.echo"]);
    assert_eq!(jobs.as_object().map(serde_json::Map::len), Some(4), "{jobs}");
}

async fn a_job_has_the_returns_of_both_minions(fixture: &Fixture) {
    let master = &fixture.master;
    let _second = master.minion("m2", &url(&fixture.host)).await;
    let both = json!({"m1": "five", "m2": "five"});
    assert_eq!(master.salt(&["test.echo", "five"]), both);
    let jobs = master.runner(&["jobs.list_jobs", "search_function=test.echo"]);
    let jid = jobs.as_object().and_then(|jobs| jobs.keys().max()).expect("a job").clone();
    until("the returns of both", async || {
        let found = master.runner(&["jobs.lookup_jid", &jid]);
        if found == both { Ok(()) } else { Err(found.to_string()) }
    })
    .await;
    let job = master.runner(&["jobs.print_job", &jid]);
    let minions = job[&jid]["Minions"].as_array().cloned().unwrap_or_default();
    assert!(minions.len() == 2 && ["m1", "m2"].iter().all(|&name| minions.contains(&json!(name))), "{job}");
    let rows: Vec<(String,)> = fixture
        .mysql
        .rows(&format!("SELECT CAST(id AS CHAR) FROM salt_returns WHERE jid = '{jid}' ORDER BY id"))
        .await;
    assert_eq!(rows, [("m1".to_owned(),), ("m2".to_owned(),)]);
}

/// Publishes as `salt --async` does, without a start of Python for each.
const BURST: &str = r#"
import sys, salt.client
client = salt.client.LocalClient(c_path=sys.argv[1])
for number in range(int(sys.argv[2]), int(sys.argv[3])):
    assert client.cmd_async("*", "test.echo", [str(number)], ret="mysql", ret_config="burst")
"#;

/// How many jobs there are; each is a process of the minion's.
const JOBS: usize = 500;

/// The database is stopped in the middle of it, the master is restarted, and the host is killed.
#[tokio::test]
async fn nothing_of_a_burst_is_lost() {
    let mut server = Mariadb::start().await;
    let database = server.database().await;
    let mut fixture =
        Fixture::with(SaltVersion::V3008, &database.config_as("burst.mysql"), "process_count_max: 20\n")
            .await;
    let script = fixture.minion.cache().join("burst.py");
    std::fs::write(&script, BURST).expect("a file");
    let (script, config) = (script.display().to_string(), fixture.master.config_file());
    let publish = |fixture: &Fixture, from: usize, to: usize| {
        fixture.master.python(&[&script, &config, &from.to_string(), &to.to_string()]).expect(0);
    };
    publish(&fixture, 0, JOBS / 3);
    all_of_them(&fixture, &database, JOBS / 3).await;
    server.kill();
    fixture.master.restart("").await;
    fixture.master.wait_for(&fixture.minion).await;
    publish(&fixture, JOBS / 3, JOBS * 2 / 3);
    fixture.host.kill();
    publish(&fixture, JOBS * 2 / 3, JOBS);
    fixture.host.restart().await;
    server.restart().await;
    all_of_them(&fixture, &database, JOBS).await;
}

/// Waits for a row of each job.
async fn all_of_them(fixture: &Fixture, database: &MysqlDatabase, count: usize) {
    until_within(PATIENCE * 10, "all of the rows", async || {
        // What was kept while the host was away goes out with the next return, or so.
        fixture.minion.call(&["--local", "mysql.flush"]);
        let query = "SELECT CAST(`return` AS CHAR) FROM salt_returns";
        let rows: Vec<(String,)> = database.try_rows(query).await.map_err(|error| error.to_string())?;
        let mut numbers: Vec<usize> =
            rows.iter().filter_map(|(text,)| text.trim_matches('"').parse().ok()).collect();
        numbers.sort_unstable();
        let all = numbers.iter().copied().eq(0..count);
        if all { Ok(()) } else { Err(format!("{} rows of {count}", numbers.len())) }
    })
    .await;
}
