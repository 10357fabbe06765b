//! What a real master says on its bus, recorded, and said again by a test's for thousands of minions.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use returner_servers::{Host, Mariadb, Master, SaltVersion, Server, until};
use serde_json::{Value, json};

use super::bus::Bus;
use super::of_both_versions;

const MINIONS: usize = 10_000;

/// All of them are as long, so that each can stand in the place of the recorded one.
fn id(number: usize) -> String {
    format!("minion-{number:05}")
}

/// A message of the bus, as it came.
struct Frame(Vec<u8>);

impl Frame {
    /// The next one that comes on a bus. `rest` is what has come of those after it.
    fn read(bus: &mut UnixStream, rest: &mut Vec<u8>) -> Self {
        loop {
            let mut left = rest.as_slice();
            if rmpv::decode::read_value_ref(&mut left).is_ok() {
                let length = rest.len() - left.len();
                return Self(rest.drain(..length).collect());
            }
            let mut more = [0; 65536];
            let read = bus.read(&mut more).expect("the master goes on");
            assert_ne!(read, 0, "the master has closed its bus");
            rest.extend_from_slice(&more[..read]);
        }
    }

    fn says(&self, words: &str) -> bool {
        self.0.windows(words.len()).any(|window| window == words.as_bytes())
    }

    /// The same of another minion.
    fn of(&self, minion: &str) -> Vec<u8> {
        let (recorded, mut frame) = (id(0), self.0.clone());
        let places: Vec<usize> =
            (0..frame.len()).filter(|place| frame[*place..].starts_with(recorded.as_bytes())).collect();
        assert!(places.len() > 1, "its tag and its data name the minion");
        for place in places {
            frame[place..place + minion.len()].copy_from_slice(minion.as_bytes());
        }
        frame
    }
}

/// What a master publishes of a job: the job, and the return of its only minion.
async fn recorded(version: SaltVersion) -> [Frame; 2] {
    let master = Master::start(version, "").await;
    let _minion = master.minion(&id(0), "").await;
    let mut bus = UnixStream::connect(master.event_bus()).expect("the bus of a master");
    bus.set_read_timeout(Some(Duration::from_secs(60))).expect("a socket");
    let answer = master.salt(&["test.echo", "recorded"]);
    assert_eq!(answer[&id(0)], "recorded");
    let (mut rest, mut job) = (Vec::new(), None);
    let returned = format!("/ret/{}", id(0));
    loop {
        let frame = Frame::read(&mut bus, &mut rest);
        // Of the minion's start there are others.
        match &job {
            None if frame.says("salt/job/") && frame.says("/new\n\n") && frame.says("test.echo") => {
                job = Some(frame);
            }
            Some(_) if frame.says(&returned) && frame.says("recorded") => {
                return [job.expect("it was just there"), frame];
            }
            _ => {}
        }
    }
}

of_both_versions!(ten_thousand_minions_answer_at_once);

/// All of ten thousand minions answer at once, while the database hangs: the master is never
/// held up, and all are stored.
async fn ten_thousand_minions_answer_at_once(version: SaltVersion) {
    let [job, returned] = recorded(version).await;
    let mut mariadb = Mariadb::start().await;
    let mysql = mariadb.database().await;
    let bus = Bus::new(&format!("many-{version:?}"));
    let host = Host::start(&format!("return: mysql\n{}{}", bus.config(), mysql.config())).await;
    mariadb.pause();
    let mut stream = bus.accept().await;
    stream.write_all(&job.0).expect("the host reads");
    for minion in 0..MINIONS {
        stream.write_all(&returned.of(&id(minion))).expect("the host reads");
    }
    until("all of it to be on disk", async || {
        let metrics = host.get("/metrics").await.text;
        let all = format!("returner_items_accepted_total{{kind=\"return\"}} {MINIONS}");
        if metrics.lines().any(|line| line == all) { Ok(()) } else { Err(metrics) }
    })
    .await;
    mariadb.resume();
    host.wait_drained("mysql").await;
    let rows: Vec<(String, String)> = mysql.rows("SELECT id, full_ret FROM salt_returns ORDER BY id").await;
    assert_eq!(rows.len(), MINIONS);
    for (number, (minion, full)) in rows.iter().enumerate() {
        let full: Value = serde_json::from_str(full).expect("JSON");
        assert_eq!(
            (minion, &full["id"], &full["return"]),
            (&id(number), &json!(id(number)), &json!("recorded"))
        );
    }
    assert_eq!(mysql.count("jids").await, 1);
    let standing = host.get("/v1/salt-events").await.json();
    assert!(standing["connected_since"].is_string() && standing["gaps"] == json!([]), "{standing}");
}
