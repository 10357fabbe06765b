//! The host does not answer, or answers late.

use std::time::{Duration, Instant};

use returner_servers::{Master, Minion, SaltVersion, until};
use serde_json::json;

use super::{Fixture, of_both_versions};

of_both_versions!(what_is_returned_meanwhile_is_kept_in_order_and_sent_later);

async fn what_is_returned_meanwhile_is_kept_in_order_and_sent_later(version: SaltVersion) {
    let mut fixture = Fixture::new(version).await;
    fixture.synchronise("saltutil.sync_all").await;
    fixture.host.kill();
    for value in ["one", "two", "three"] {
        fixture.master.salt(&["test.echo", value, "--return", "mysql"]);
        waits(&fixture.minion, value).await;
    }
    fixture.host.restart().await;
    // The next one takes them along.
    fixture.master.salt(&["test.echo", "four", "--return", "mysql"]);
    fixture.in_mysql("test.echo", &json!("four")).await;
    assert_eq!(echoed(&fixture).await, ["one", "two", "three", "four"]);

    // It hangs: no job is held up by more than the bound, and `flush` sends.
    fixture.host.pause();
    let begun = Instant::now();
    fixture.minion.call(&["--local", "test.echo", "five", "--return", "mysql"]).expect(0);
    let took = begun.elapsed();
    waits(&fixture.minion, "five").await;
    fixture.host.resume();
    assert!(took < Duration::from_secs(30), "a job took {took:?}");
    let flushed = until("what was kept to be sent", async || {
        let answer = fixture.master.salt(&["mysql.flush"]);
        if answer["m1"]["waiting"] == 0 { Ok(answer) } else { Err(answer.to_string()) }
    })
    .await;
    assert_eq!(flushed["m1"]["refused"], 0, "{flushed}");
    fixture.in_mysql("test.echo", &json!("five")).await;
    assert_eq!(echoed(&fixture).await, ["one", "two", "three", "four", "five"]);
}

/// Waits until a return is in the spool.
async fn waits(minion: &Minion, value: &str) {
    let spool = minion.cache().join("returner/mysql");
    until("the return to be kept", async || {
        let files = std::fs::read_dir(&spool).into_iter().flatten().flatten();
        let texts: Vec<String> = files.filter_map(|file| std::fs::read_to_string(file.path()).ok()).collect();
        let kept = texts.iter().any(|text| text.contains(&json!(value).to_string()));
        if kept { Ok(()) } else { Err(format!("{texts:?}\n{}", minion.log())) }
    })
    .await;
}

/// What was echoed, in the order of the rows.
async fn echoed(fixture: &Fixture) -> Vec<String> {
    fixture.host.wait_drained("mysql").await;
    let query = "SELECT CAST(`return` AS CHAR) FROM salt_returns WHERE fun = 'test.echo' ORDER BY seq";
    let rows: Vec<(String,)> = fixture.mysql.rows(query).await;
    rows.iter().map(|(text,)| serde_json::from_str(text).unwrap_or_default()).collect()
}

/// What is over the bound is lost with a word in the log, and nothing that was kept before.
#[tokio::test]
async fn the_spool_is_bounded() {
    let mut fixture = Fixture::with(SaltVersion::V3008, "", "returner.spool_bytes: 500000\n").await;
    fixture.synchronise("saltutil.sync_all").await;
    fixture.host.kill();
    // It is in the value and in the arguments.
    let value = "x".repeat(100_000);
    let complaints: Vec<String> = (0..3)
        .map(|_| fixture.minion.call(&["--local", "test.echo", &value, "--return", "mysql"]).stderr)
        .collect();
    assert!(complaints[1].contains("kept in") && !complaints[1].contains("is full"), "{}", complaints[1]);
    assert!(
        complaints[2].contains("is full") && complaints[2].contains("A return is lost"),
        "{}",
        complaints[2]
    );
    fixture.host.restart().await;
    let flushed = fixture.minion.call(&["--local", "mysql.flush", "--out=json"]).json();
    assert_eq!(flushed["local"], json!({"sent": 2, "waiting": 0, "refused": 0}));
    // A return that finds it full, and the host there, takes all of it along.
    fixture.host.kill();
    for _ in 0..2 {
        fixture.minion.call(&["--local", "test.echo", &value, "--return", "mysql"]);
    }
    fixture.host.restart().await;
    let last = "y".repeat(100_000);
    let called = fixture.minion.call(&["--local", "test.echo", &last, "--return", "mysql"]);
    assert!(!called.stderr.contains("is full") && !called.stderr.contains("lost"), "{}", called.stderr);
    fixture.in_mysql("test.echo", &json!(last)).await;
    let flushed = fixture.minion.call(&["--local", "mysql.flush", "--out=json"]).json();
    assert_eq!(flushed["local"], json!({"sent": 0, "waiting": 0, "refused": 0}));
}

/// A return that the host will never take is kept aside, and those behind it are stored.
#[tokio::test]
async fn what_the_host_refuses_for_good_holds_nothing_up() {
    let mut fixture = Fixture::new(SaltVersion::V3008).await;
    fixture.host.kill();
    fixture.minion.call(&["--local", "test.echo", "first", "--return", "mysql"]);
    let spool = fixture.minion.cache().join("returner/mysql");
    std::fs::write(spool.join("000000000002"), "/v1/returns?returner=mysql\n{\"jid\": 7}\n").expect("a file");
    // So is what a disk has damaged.
    std::fs::write(spool.join("000000000003"), b"\xff\xfe/v1/\n{}\n").expect("a file");
    std::fs::write(spool.join("000000000004"), "").expect("a file");
    std::fs::write(spool.join("000000000005"), "/v1/returns\u{1}returner=mysql\n{}\n").expect("a file");
    std::fs::write(spool.join("000000000006"), "/v1/returns?returner=mysqm\n{}\n").expect("a file");
    std::fs::write(spool.join("000000000007"), "/v1/returns?returner=mysql\n").expect("a file");
    // What is no file at all is put aside as it is, and what has no number is not looked at.
    std::fs::create_dir(spool.join("000000000008")).expect("a directory");
    std::os::unix::fs::symlink("/nowhere", spool.join("000000000009")).expect("a link");
    std::fs::write(spool.join("\u{b2}"), "two").expect("a file");
    std::fs::write(spool.join("index"), "-5 0").expect("a file");
    fixture.minion.call(&["--local", "test.echo", "last", "--return", "mysql"]);
    std::fs::write(spool.join("index"), b"\xff 0").expect("a file");
    fixture.host.restart().await;
    fixture.minion.call(&["--local", "test.echo", "then", "--return", "mysql"]);
    fixture.in_mysql("test.echo", &json!("last")).await;
    fixture.in_mysql("test.echo", &json!("then")).await;
    let aside: Vec<String> = std::fs::read_dir(spool.join("refused"))
        .expect("what was refused")
        .flatten()
        .filter_map(|file| std::fs::read(file.path()).ok())
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .collect();
    assert!(
        aside.iter().any(|text| text.contains("`id` is missing") && text.contains("\"jid\": 7")),
        "{aside:?}"
    );
    assert_eq!(aside.iter().filter(|text| text.contains("the file of the spool is damaged")).count(), 5);
    let files = std::fs::read_dir(&spool).expect("a spool").flatten();
    let left = files.filter(|file| file.file_name().to_string_lossy().parse::<u64>().is_ok()).count();
    assert_eq!((left, aside.len()), (0, 7), "six, and their index: {aside:?}");
    let all = std::fs::read_dir(spool.join("refused")).expect("what was refused").count();
    assert_eq!(all, 9, "the directory and the link, too");
}

/// A master hands over many events at once (`event_return_queue`): one that is bad takes no others
/// with it, sent at once or later.
#[tokio::test]
async fn one_bad_event_takes_no_others_with_it() {
    let mut fixture = Fixture::new(SaltVersion::V3008).await;
    let cache = fixture.master.roots();
    let shared = concat!(env!("CARGO_MANIFEST_DIR"), "/../../host/salt");
    let script = format!(
        "import sys; sys.path.append('{shared}'); sys.dont_write_bytecode = True; import _returner_host\n\
         opts = {{'cachedir': '{}', 'returner.url': '{}', 'id': 'm_master'}}\n\
         tags = [sys.argv[1] + '/one', 'x' * 2000, sys.argv[1] + '/two']\n\
         _returner_host.Returner('mysql', opts).event_return([{{'tag': tag, 'data': {{}}}} for tag in tags])\n\
         _returner_host.Returner('mysql', opts).flush()",
        cache.display(),
        fixture.host.url("")
    );
    fixture.master.python(&["-c", &script, "now"]).expect(0);
    fixture.host.kill();
    fixture.master.python(&["-c", &script, "later"]).expect(0);
    fixture.host.restart().await;
    fixture.master.python(&["-c", &script, "then"]).expect(0);
    let expected = ["later/one", "later/two", "now/one", "now/two", "then/one", "then/two"];
    until("the events", async || {
        let tags: Vec<(String,)> = fixture.mysql.rows("SELECT tag FROM salt_events ORDER BY tag").await;
        let tags: Vec<String> = tags.into_iter().map(|(tag,)| tag).collect();
        if tags == expected { Ok(()) } else { Err(format!("{tags:?}")) }
    })
    .await;
    let aside = std::fs::read_dir(cache.join("returner/mysql/refused")).expect("what was refused").flatten();
    let texts = aside.filter_map(|file| std::fs::read_to_string(file.path()).ok());
    assert_eq!(texts.filter(|text| text.contains("xxx") && text.matches("\"tag\"").count() == 1).count(), 3);
}

/// A master has many events: of a host that hangs only the first one waits.
#[tokio::test]
async fn events_do_not_wait_for_a_host_that_hangs() {
    let master = Master::start(SaltVersion::V3008, "").await;
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", silent.local_addr().expect("an address"));
    let (shared, cache) = (concat!(env!("CARGO_MANIFEST_DIR"), "/../../host/salt"), master.roots());
    let script = format!(
        "import sys; sys.path.append('{shared}'); sys.dont_write_bytecode = True; import _returner_host\n\
         opts = {{'cachedir': '{}', 'returner.url': '{url}', 'id': 'm_master', 'returner.timeout': 0.5}}\n\
         for number in range(5):\n    \
         _returner_host.Returner('mysql', opts).event_return([{{'tag': str(number), 'data': {{}}}}])",
        cache.display()
    );
    master.python(&["-c", &script]).expect(0);
    silent.set_nonblocking(true).expect("a socket");
    let connections = std::iter::from_fn(|| silent.accept().ok()).count();
    assert_eq!(connections, 1);
    let files = std::fs::read_dir(cache.join("returner/mysql")).expect("a spool").flatten();
    let kept = files.filter(|file| file.file_name().to_string_lossy().parse::<u64>().is_ok()).count();
    assert_eq!(kept, 5);
}
