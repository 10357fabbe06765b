//! A plugin that does its host harm, one way after the other (`tests/guests/hostile`): it is
//! stopped or refused and named, its items are not lost, and nobody else notices.

use std::time::{Duration, Instant};

use returner_servers::{
    Host, Mariadb, MysqlDatabase, SqliteDatabase, guest, new_jid, ret, returner, until, until_within,
};
use serde_json::{Value, json};

/// A host with the plugin and a returner that is nobody's enemy.
struct Fixture {
    host: Host,
    database: MysqlDatabase,
    neighbour: SqliteDatabase,
    stored: i64,
}

impl Fixture {
    async fn new(config: &str) -> Self {
        Self::with_backoff("1s", config).await
    }

    async fn with_backoff(most: &str, config: &str) -> Self {
        let plugin = guest("hostile").await;
        let database = Mariadb::shared().await.database().await;
        database.execute("CREATE TABLE kept (a INT); CREATE TABLE many (a INT)").await;
        let fifty = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50)";
        database.execute(&format!("INSERT INTO many {fifty} SELECT a.i FROM n a, n b")).await;
        let neighbour = SqliteDatabase::new();
        let host = Host::start(&format!(
            "return: [hostile, sqlite3]\nhostile.plugin: {}\nhostile.connections: {{db: mysql}}\n\
             hostile.delivery: {{workers: 1, max_backoff: {most}}}\n{config}{}{}",
            plugin.display(),
            neighbour.config(),
            database.config()
        ))
        .await;
        Self { host, database, neighbour, stored: 0 }
    }

    /// Sends an item that does harm between two that do none, and claims that the neighbour
    /// has all three.
    async fn send(&mut self, how: &str) -> String {
        let jid = new_jid();
        let items: Value = ["fine", how, "fine"]
            .iter()
            .enumerate()
            .map(|(number, value)| ret(&jid, &format!("m{number}"), "test.arg", json!(value)))
            .collect();
        self.host.post("/v1/returns", &items).await.expect(202);
        self.host.wait_drained("sqlite3").await;
        self.stored += 3;
        assert_eq!(self.neighbour.count("salt_returns").await, self.stored, "after `{how}`");
        jid
    }

    /// As [`send`](Self::send); gives the dead letter that it comes to, and claims that it is
    /// alone.
    async fn dead(&mut self, how: &str) -> Value {
        let jid = self.send(how).await;
        self.host.wait_drained("hostile").await;
        let listed = self.host.get("/v1/dead-letters?limit=1000").await.expect(200).json();
        let letters = listed["dead_letters"].as_array().cloned().unwrap_or_default();
        let ours = |letter: &&Value| letter["title"].as_str().is_some_and(|title| title.contains(&jid));
        let ours: Vec<&Value> = letters.iter().filter(ours).collect();
        assert_eq!(ours.len(), 1, "`{how}`: {ours:?}");
        assert!(ours[0]["title"].as_str().is_some_and(|title| title.contains("`m1`")), "{ours:?}");
        assert_eq!(ours[0]["plugin"], "hostile 0.1.0");
        self.host.get(&format!("/v1/dead-letters/{}", ours[0]["id"])).await.expect(200).json()
    }
}

const LIMITS: &str = "hostile.limits: {memory: 32MiB, time: 3s, cpu: 1s, host_call: 2s}\n";

#[tokio::test]
async fn it_is_stopped_and_named_and_the_rest_is_stored() {
    let mut fixture = Fixture::new(LIMITS).await;
    for (how, words) in [
        ("loop", "more than 1s of processor time (`limits.cpu`)"),
        ("fields", "more than 1s of processor time (`limits.cpu`)"),
        ("allocate", "needs more than 32.0 MiB of memory (`limits.memory`)"),
        ("recurse", "it trapped: "),
        ("sleep", "a call took longer than 3s"),
        ("trap", "it aborted"),
        ("exit", "it exited"),
        ("text", "invalid utf-8"),
        ("beyond", "against the contract: it refused the item 8 of a batch of 1"),
        ("twice", "against the contract: it refused the item 0 twice"),
        ("refuse", "not this one"),
        ("transaction", "more than 1s of processor time"),
    ] {
        let letter = fixture.dead(how).await;
        let reason = letter["reason"].as_str().unwrap_or_default();
        assert!(reason.contains(words), "`{how}`: {reason}");
    }
    let printed = fixture.dead("trap").await["stderr"].as_str().unwrap_or_default().to_owned();
    assert!(printed.contains("as it was asked to"), "{printed}");
    crashes_are_told_and_run_again(&fixture.host, &fixture.database).await;
    // With the four bundled plugins and one that may have 32 MiB.
    let most = most_memory(&fixture.host);
    assert!(most < 500 << 10, "the host took {most} KiB");
    // What it wrote before it was stopped was undone, and nothing of it is left open.
    assert_eq!(fixture.database.count("kept").await, 0);
    let log = fixture.host.log();
    assert!(log.contains("hostile 0.1.0"), "it is named");
    // The plugin's own panics are told, too.
    assert!(!log.contains("panicked at host/"), "the host panicked");
}

/// The most memory that the host has had, in KiB (`VmHWM` of proc(5)).
fn most_memory(host: &Host) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", host.id())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux says it");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Of the newest, a trap of one item alone.
async fn crashes_are_told_and_run_again(host: &Host, database: &MysqlDatabase) {
    let command = |words: &[&str]| {
        let words = [&["plugins"], words, &["--config", "returner.yaml"]].concat();
        returner(host.directory(), &words)
    };
    let listed = command(&["crash", "list", "--json"]);
    let listed: Value = serde_json::from_str(&listed.expect(0).stdout).expect("JSON");
    let crashes = listed["crashes"].as_array().expect("a list");
    let newest = crashes.iter().find(|crash| crash["item"].is_string()).expect("one of an item alone");
    assert_eq!((&newest["plugin"], &newest["function"]), (&json!("hostile 0.1.0"), &json!("returns.store")));
    let id = newest["id"].to_string();
    let shown = command(&["crash", "show", &id]);
    for words in ["it aborted", "as it was asked to", "`m1`", "hostile"] {
        assert!(shown.expect(0).stdout.contains(words), "nothing of `{words}`: {}", shown.stdout);
    }
    let again = command(&["replay", &id]);
    assert!(again.expect(1).stderr.contains("as it was asked to"), "{}", again.stderr);
    // One that had gone through the database before.
    let computing = |crash: &&Value| {
        crash["item"].is_string()
            && crash["reason"].as_str().is_some_and(|reason| reason.contains("processor time"))
    };
    let after_a_call =
        crashes.iter().find(computing).expect("`transaction` is the newest of those")["id"].to_string();
    let alone = command(&["replay", &after_a_call]);
    assert!(alone.expect(0).stdout.contains("`--connection NAME=URL`"), "{}", alone.stdout);
    let connection = format!("db={}", database.url());
    let again_there = command(&["replay", &after_a_call, "--connection", &connection]);
    assert!(again_there.expect(1).stderr.contains("processor time"), "{}", again_there.stderr);
    // Also from what was printed, without the host, and with a plugin that was mended.
    let whole = command(&["crash", "show", &id, "--json"]);
    let file = host.directory().join("crash.json");
    std::fs::write(&file, &whole.expect(0).stdout).expect("a file");
    let reaching = guest("reaching").await.display().to_string();
    let mended = command(&["replay", "crash.json", "--plugin", &reaching]);
    assert!(mended.expect(0).stdout.contains("it was not stopped: it refused"), "{}", mended.stdout);
    let none = command(&["crash", "show", "4711"]);
    assert!(none.expect(4).stderr.contains("no report of a crash 4711"), "{}", none.stderr);
}

/// It computes in more instances than there are processors, or has the host do so: what comes in is
/// still acknowledged, and stored by its neighbour, before the first of them has used up its time.
#[tokio::test]
async fn guests_that_compute_leave_the_host_to_everybody_else() {
    for how in ["loop", "parameters"] {
        computing_in_many_instances(how).await;
    }
}

async fn computing_in_many_instances(how: &str) {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let plugin = guest("hostile").await;
    let neighbour = SqliteDatabase::new();
    let host = Host::start(&format!(
        "return: sqlite3\nhostile.plugin: {}\nhostile.delivery: {{workers: {}}}\n\
         hostile.limits: {{cpu: 60s, time: 1h}}\nhostile.connections: {{db: sqlite3}}\n{}",
        plugin.display(),
        (4 * processors).min(64),
        neighbour.config()
    ))
    .await;
    // Each minion's items go to one worker.
    let jid = new_jid();
    let items: Value =
        (0..16 * processors).map(|number| ret(&jid, &format!("m{number}"), "test.arg", json!(how))).collect();
    host.post("/v1/returns?returner=hostile", &items).await.expect(202);
    until("its threads to become nicer", async || {
        let nicest = threads(&host).into_iter().filter(|(name, _)| name == "guest").map(|(_, nice)| nice);
        let nicest = nicest.max().unwrap_or_default();
        if nicest >= (nice_of(&host) + 15).min(19) { Ok(()) } else { Err(nicest) }
    })
    .await;
    for number in 0..500 {
        let item = ret(&new_jid(), &format!("m{number}"), "test.arg", json!("fine"));
        host.post("/v1/returns", &item).await.expect(202);
    }
    host.wait_drained("sqlite3").await;
    assert_eq!(neighbour.count("salt_returns").await, 500);
    let entry = host.returner("hostile").await;
    assert_eq!((&entry["failing"], &entry["dead"]), (&Value::Null, &json!(0)), "its time was over: {entry}");
    // What others use did not become nicer with it.
    let most = (nice_of(&host) + 5).min(19);
    for (name, nice) in threads(&host) {
        assert!(name == "guest" || nice <= most, "`{name}` is {nice}");
    }
}

/// The names of a host's threads, and how nice they are (proc_pid_stat(5)).
fn threads(host: &Host) -> Vec<(String, i32)> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", host.id())).expect("it runs");
    // One may have ended since.
    let stats = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("stat")).ok());
    stats.map(|stat| named_and_nice(&stat)).collect()
}

fn nice_of(host: &Host) -> i32 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", host.id())).expect("it runs");
    named_and_nice(&stat).1
}

fn named_and_nice(stat: &str) -> (String, i32) {
    let (name, fields) = stat.split_once('(').and_then(|(_, rest)| rest.rsplit_once(") ")).expect("a name");
    let nice = fields.split(' ').nth(16).and_then(|nice| nice.parse().ok());
    (name.to_owned(), nice.expect("a number"))
}

/// The host copies what it is handed before it can look at the grants.
#[tokio::test]
async fn what_it_hands_over_without_a_grant_is_little() {
    let plugin = guest("hostile").await;
    let host = Host::start(&format!("return: hostile\nhostile.plugin: {}\n", plugin.display())).await;
    for how in ["parameters", "long line"] {
        let item = ret(&new_jid(), "m", "test.arg", json!(how));
        host.post("/v1/returns", &item).await.expect(202);
        host.wait_drained("hostile").await;
        let listed = host.get("/v1/dead-letters?limit=1000").await.expect(200).json();
        let reasons = listed["dead_letters"].to_string();
        assert!(
            reasons.contains("it handed over more than 4.0 MiB in one call of the host"),
            "`{how}`: {listed}"
        );
        host.send(reqwest::Method::DELETE, "/v1/dead-letters?returner=hostile", "").await;
    }
}

#[tokio::test]
async fn what_it_says_is_cut_to_a_measure() {
    let mut fixture = Fixture::new(LIMITS).await;
    let letter = fixture.dead("novel").await;
    let reason = letter["reason"].as_str().unwrap_or_default();
    assert!(reason.len() < 10_000 && reason.ends_with("… (5.0 MiB, cut)"), "{} bytes", reason.len());
    // A flood of lines is stored like any other item, and 100 lines a second are written.
    let begun = std::time::Instant::now();
    for how in ["flood", "print"] {
        fixture.send(how).await;
        fixture.host.wait_drained("hostile").await;
    }
    let written = fixture.host.log().matches("of a flood").count();
    let seconds = usize::try_from(begun.elapsed().as_secs()).unwrap_or(usize::MAX) + 2;
    assert!((100..=100 * seconds).contains(&written), "{written} lines");
    until("the lines that were left out", async || {
        fixture.host.store("/v1/returns", &ret(&new_jid(), "m", "test.arg", json!("flood"))).await;
        let log = fixture.host.log();
        if log.contains("lines of its plugin were left out") { Ok(()) } else { Err("nothing") }
    })
    .await;
}

/// The reasons are the plugin's own words, and there is one for each item.
#[tokio::test]
async fn what_it_refuses_floods_no_log() {
    let fixture = Fixture::new("hostile.limits: {log_lines: 10}\n").await;
    let begun = Instant::now();
    let jid = new_jid();
    let items: Value =
        (0..1000).map(|number| ret(&jid, &format!("m{number}"), "test.arg", json!("refuse"))).collect();
    fixture.host.post("/v1/returns?returner=hostile", &items).await.expect(202);
    fixture.host.wait_drained("hostile").await;
    assert_eq!(fixture.host.returner("hostile").await["dead"], 1000);
    let written = fixture.host.log().matches("dead letter: ").count();
    let seconds = usize::try_from(begun.elapsed().as_secs()).unwrap_or(usize::MAX) + 2;
    assert!((10..=10 * seconds).contains(&written), "{written} lines");
    until("the lines that were left out", async || {
        let item = ret(&new_jid(), "m", "test.arg", json!("refuse"));
        fixture.host.post("/v1/returns?returner=hostile", &item).await.expect(202);
        let log = fixture.host.log();
        if log.contains("refusals and traps were left out") { Ok(()) } else { Err("nothing") }
    })
    .await;
}

/// The bytes of the journal.
fn journal(host: &Host) -> u64 {
    let files = ["journal.db", "journal.db-wal"].map(|name| host.directory().join("data/journal").join(name));
    files.iter().map(|file| std::fs::metadata(file).map_or(0, |file| file.len())).sum()
}

async fn send_all(host: &Host, how: &str, items: usize) {
    let jid = new_jid();
    let items: Value =
        (0..items).map(|number| ret(&jid, &format!("m{number}"), "test.arg", json!(how))).collect();
    host.post("/v1/returns?returner=hostile", &items).await.expect(202);
}

/// A few have all of it; the others have it in short, and take about what their items take.
#[tokio::test]
async fn what_it_refuses_at_length_fills_no_journal() {
    let fixture = Fixture::new("").await;
    let host = &fixture.host;
    send_all(host, "refuse at length", 5000).await;
    host.wait_drained("hostile").await;
    assert_eq!(host.returner("hostile").await["dead"], 5000);
    assert!(journal(host) < 24 << 20, "the journal has {} bytes", journal(host));
    let listed = host.get("/v1/dead-letters?limit=1000").await.expect(200).json();
    let letters = listed["dead_letters"].as_array().cloned().unwrap_or_default();
    let reason = |letter: &Value| letter["reason"].as_str().map_or(0, str::len);
    assert!(reason(&letters[0]) > 8000, "{}", letters[0]);
    assert!(reason(&letters[999]) <= 200, "{}", letters[999]);
    let first = host.get(&format!("/v1/dead-letters/{}", letters[0]["id"])).await.expect(200).json();
    let stderr = |letter: &Value| letter["stderr"].as_str().unwrap_or_default().to_owned();
    assert!(stderr(&first).len() > 8000 && stderr(&first).starts_with("printed "), "{first}");
    let next = host.get(&format!("/v1/dead-letters/{}", letters[1]["id"])).await.expect(200).json();
    assert!(stderr(&next).contains("is kept with the first that it refused: "), "{next}");
}

/// What it puts off waits with the reason in short; the newest is told in full.
#[tokio::test]
async fn what_it_puts_off_at_length_fills_no_journal_and_holds_nobody_up() {
    let mut fixture = Fixture::new("").await;
    send_all(&fixture.host, "put off at length", 5000).await;
    until("all of them to wait", async || {
        let entry = fixture.host.returner("hostile").await;
        if entry["held"]["items"] == 5000 { Ok(()) } else { Err(entry["held"].to_string()) }
    })
    .await;
    let entry = fixture.host.returner("hostile").await;
    assert!(entry["held"]["reason"].as_str().is_some_and(|reason| reason.len() <= 200), "{entry}");
    let newest = entry["last_error"]["message"].as_str().unwrap_or_default();
    assert!(newest.len() > 8000, "{newest}");
    fixture.send("fine").await;
    until("what comes next to be stored", async || {
        let depth = fixture.host.returner("hostile").await["depth"].clone();
        if depth == 5000 { Ok(()) } else { Err(depth.to_string()) }
    })
    .await;
    assert!(journal(&fixture.host) < 24 << 20, "the journal has {} bytes", journal(&fixture.host));
}

#[tokio::test]
async fn too_much_is_refused_with_the_limit_that_says_so() {
    let limits = "hostile.limits: {rows: 1000, statement: 2MiB, answer: 2MiB}\n";
    let mut fixture = Fixture::new(limits).await;
    for (how, words) in [
        ("rows", "more than 1000 rows (`limits.rows`)"),
        ("answer", "the answer is more than 2.0 MiB (`limits.answer`)"),
        ("statement", "are more than 2.0 MiB (`hostile.limits.statement`)"),
    ] {
        let letter = fixture.dead(how).await;
        let reason = letter["reason"].as_str().unwrap_or_default();
        assert!(reason.contains(words), "`{how}`: {reason}");
    }
}

/// A server that answers late is not the item's fault: it waits, and so does its lane only.
#[tokio::test]
async fn a_host_call_that_is_kept_open_ends_and_holds_nobody_up() {
    let mut fixture = Fixture::new(LIMITS).await;
    fixture.send("hold").await;
    until("the lane to say why it waits", async || {
        let entry = fixture.host.returner("hostile").await;
        let says = entry["last_error"]["message"].as_str().is_some_and(|text| text.contains("2s"));
        if says && entry["depth"] == 3 { Ok(()) } else { Err(entry.to_string()) }
    })
    .await;
    fixture.send("fine").await;
}

#[tokio::test]
async fn a_setup_that_traps_keeps_its_items_and_nobody_elses() {
    let mut fixture = Fixture::new(&format!("{LIMITS}hostile.options: {{setup: trap}}\n")).await;
    fixture.send("fine").await;
    let entry = fixture.host.returner("hostile").await;
    assert_eq!((&entry["state"], &entry["depth"]), (&json!("setting-up"), &json!(3)), "{entry}");
    let error = entry["last_error"]["message"].as_str().unwrap_or_default();
    assert!(error.contains("it aborted"), "{error}");
    // It is mended by the configuration.
    let text = std::fs::read_to_string(fixture.host.directory().join("returner.yaml")).expect("a file");
    let mended = text.replace("hostile.options: {setup: trap}\n", "");
    std::fs::write(fixture.host.directory().join("returner.yaml"), mended).expect("a file");
    fixture.host.send(reqwest::Method::POST, "/v1/reload", "").await.expect(200);
    fixture.host.wait_drained("hostile").await;
}

/// One instance delivers, so one answers questions, which here takes a second each.
#[tokio::test]
async fn questions_wait_for_an_instance_as_long_as_a_call_may_take() {
    let limits = "hostile.limits: {instances: 2, time: 3s, cpu: 1s}\n";
    let fixture = Fixture::new(limits).await;
    let ask = || fixture.host.get("/v1/jobs/1/returns?returner=hostile");
    let answers = futures_util::future::join_all((0..8).map(|_| ask())).await;
    let (refused, asked): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 503);
    assert!(!asked.is_empty() && refused.len() >= 3, "{answers:?}");
    for answer in asked {
        answer.problem_saying(502, "`limits.cpu`");
    }
    for answer in refused {
        answer.problem_saying(503, "`limits.instances` is 2");
    }
}

/// Questions to it fail, and say whose fault that is.
#[tokio::test]
async fn its_answers_are_not_believed() {
    let fixture = Fixture::new(LIMITS).await;
    for (path, words) in [
        ("/v1/jobs/1", "what is stored is not JSON"),
        ("/v1/jobs/1/returns", "limits.cpu"),
        ("/v1/functions/f/returns", "it aborted"),
        ("/v1/minions", "… (5.0 MiB, cut)"),
    ] {
        let answer = fixture.host.get(&format!("{path}?returner=hostile")).await;
        answer.problem_saying(502, words);
        assert!(answer.text.len() < 20_000);
    }
    fixture.host.get("/v1/jobs?returner=sqlite3").await.expect(200);
    // It says each time that more was deleted.
    let endless = "/v1/jobs?older_than=1d&returner=hostile";
    fixture.host.send(reqwest::Method::DELETE, endless, "").await.expect(200);
}

/// What waits one by one for the same waits no longer than the first of them that goes through.
#[tokio::test]
async fn what_held_one_up_is_over_for_the_others() {
    const LONG: u64 = 5000;
    let fixture = Fixture::with_backoff("60s", "").await;
    let jid = new_jid();
    let items: Value =
        (0..60).map(|number| ret(&jid, &format!("m{number}"), "test.arg", json!("gate"))).collect();
    fixture.host.post("/v1/returns?returner=hostile", &items).await.expect(202);
    // All of them have been tried as often, and one of sixty comes soon.
    let next = until_within(Duration::from_secs(300), "a long wait of the oldest", async || {
        let entry = fixture.host.returner("hostile").await;
        let wait = entry["held"]["next_try_ms"].as_u64().filter(|wait| *wait > LONG);
        wait.map(|wait| Instant::now() + Duration::from_millis(wait)).ok_or(entry)
    })
    .await;
    fixture.database.execute("INSERT INTO kept VALUES (1)").await;
    fixture.host.wait_drained("hostile").await;
    assert!(Instant::now() < next, "it waited for its next try");
    assert_eq!(fixture.host.returner("hostile").await["stored"], 60);
}

/// So many are refused again and again that some are always due: what comes after them is stored
/// all the same.
#[tokio::test]
async fn what_is_refused_one_by_one_holds_nothing_else_up() {
    let fixture = Fixture::new("").await;
    let jid = new_jid();
    for part in 0..10 {
        let items: Value = (0..1000)
            .map(|number| ret(&jid, &format!("m{part}-{number}"), "test.arg", json!("gate")))
            .collect();
        fixture.host.post("/v1/returns?returner=hostile", &items).await.expect(202);
    }
    fixture
        .host
        .post("/v1/returns?returner=hostile", &ret(&jid, "m", "test.arg", json!("fine")))
        .await
        .expect(202);
    until("the one that is fine", async || {
        let entry = fixture.host.returner("hostile").await;
        if entry["stored"] == 1 { Ok(()) } else { Err(entry) }
    })
    .await;
    assert_eq!(fixture.host.returner("hostile").await["held"]["items"], 10_000);
}

/// It says when to come again, and is not asked before: the one item, or all of them.
#[tokio::test]
async fn what_says_when_to_try_again_is_left_alone_until_then() {
    const MOST_OF_A_DAY: u64 = 23 * 3_600_000;
    let mut fixture = Fixture::new("").await;
    let waits = async |host: &Host, of: &str| {
        until("the returner to put it off", async || {
            let entry = host.returner("hostile").await;
            let wait = entry[of]["next_try_ms"].as_u64().filter(|wait| *wait > MOST_OF_A_DAY);
            wait.map(|_| entry.clone()).ok_or(entry)
        })
        .await
    };
    fixture.send("later").await;
    let entry = waits(&fixture.host, "held").await;
    assert_eq!(
        (&entry["held"]["items"], &entry["stored"], &entry["state"]),
        (&json!(1), &json!(2), &json!("ready"))
    );
    assert_eq!(entry["held"]["reason"], "it is late", "{entry}");
    fixture.send("all later").await;
    let entry = waits(&fixture.host, "failing").await;
    assert_eq!((&entry["depth"], &entry["state"]), (&json!(4), &json!("retrying")), "{entry}");
}
