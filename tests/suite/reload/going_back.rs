//! A plugin that is worse than the one whose place it took gives it back, by itself.

use std::fs;

use returner_servers::{Host, another_build, guest, new_jid, ret, returner, until};
use serde_json::{Value, json};

const RETURNS: usize = 60;

fn returns(jid: &str) -> Value {
    (0..RETURNS).map(|number| ret(jid, &format!("m{number}"), "test.arg", json!("fine"))).collect()
}

/// A host whose returner `audit` has the plugin `plugin.wasm`, which stores everything.
async fn host() -> Host {
    let directory = returner_servers::Directory::new("going-back");
    directory.write("plugin.wasm", fs::read(guest("hostile").await).expect("a plugin"));
    let host = Host::start_in(directory, "return: audit\naudit.plugin: plugin.wasm\n").await;
    host.store("/v1/returns", &returns(&new_jid())).await;
    host
}

/// Another file in the plugin's place, and the host is told.
async fn replace(host: &Host, plugin: Vec<u8>) {
    let path = host.directory().join("plugin.wasm");
    fs::write(path.with_extension("new"), plugin).expect("a test's file");
    fs::rename(path.with_extension("new"), path).expect("a test's file");
    host.send(reqwest::Method::POST, "/v1/reload", "").await.expect(200);
}

#[tokio::test]
async fn one_that_rejects_what_the_one_before_stored() {
    let host = host().await;
    // It rejects everything.
    replace(&host, fs::read(guest("reaching").await).expect("a plugin")).await;
    let before = host.returner("audit").await["stored"].clone();
    host.post("/v1/returns", &returns(&new_jid())).await.expect(202);
    let entry = until("the one before to run again", async || {
        let entry = host.returner("audit").await;
        if entry["went_back"].is_object() { Ok(entry) } else { Err(entry) }
    })
    .await;
    assert_eq!(entry["went_back"]["to"], "hostile 0.1.0");
    assert!(entry["went_back"]["reason"].as_str().is_some_and(|reason| reason.contains("nobody knows")));
    host.wait_drained("audit").await;
    let entry = host.returner("audit").await;
    assert_eq!(entry["plugin"]["name"], "hostile");
    // What it rejected was the other one's to try: nothing is a dead letter.
    assert_eq!(entry["dead"], 0, "{entry}");
    assert_eq!(entry["stored"].as_u64(), before.as_u64().map(|stored| stored + RETURNS as u64));
    let status = returner(host.directory(), &["status", "--url", &host.url("")]);
    let stdout = &status.expect(0).stdout;
    assert!(
        stdout.contains("audit: went back from `reaching 0.1.0` to `hostile 0.1.0`")
            && stdout.contains("tries the new one again"),
        "{stdout}"
    );
    let metrics = host.get("/metrics").await.expect(200).text.clone();
    assert!(metrics.contains("returner_plugins_went_back_total{returner=\"audit\"} 1"), "{metrics}");

    // A file that changes for another reason does not give it another try.
    let lines = "return: audit\naudit.plugin: plugin.wasm\nsqlite3.timeout: 3\n";
    host.rewrite(lines);
    until("the file to be read", async || {
        let names = host.get("/v1/returners").await.expect(200).json();
        let returners = names["returners"].as_array().map_or(0, Vec::len);
        if returners == 2 { Ok(()) } else { Err(names.to_string()) }
    })
    .await;
    let entry = host.returner("audit").await;
    assert!(entry["went_back"].is_object() && entry["plugin"]["name"] == "hostile", "{entry}");

    // Asked for, it is tried again; and mended, it stays.
    host.send(reqwest::Method::POST, "/v1/reload", "").await.expect(200);
    until("the new one to have its turn", async || {
        // The lane takes it when it comes to it.
        let entry = host.returner("audit").await;
        if entry["went_back"].is_null() { Ok(()) } else { Err(entry) }
    })
    .await;
    replace(&host, another_build(&guest("hostile").await, "mended")).await;
    host.store("/v1/returns", &returns(&new_jid())).await;
    let entry = host.returner("audit").await;
    assert_eq!((&entry["went_back"], &entry["dead"]), (&Value::Null, &json!(0)), "{entry}");
}

/// Few come at a time: most are dead letters before there are enough to say that it is worse.
#[tokio::test]
async fn what_was_rejected_before_that_was_clear_is_taken_back() {
    let host = host().await;
    replace(&host, fs::read(guest("reaching").await).expect("a plugin")).await;
    let before = host.returner("audit").await["stored"].as_u64();
    for number in 0..8 {
        host.post("/v1/returns", &ret(&new_jid(), &format!("m{number}"), "test.arg", json!("fine")))
            .await
            .expect(202);
        host.wait_drained("audit").await;
    }
    let entry = until("all of them to be stored", async || {
        let entry = host.returner("audit").await;
        if entry["stored"].as_u64() == before.map(|stored| stored + 8) { Ok(entry) } else { Err(entry) }
    })
    .await;
    assert_eq!((&entry["dead"], &entry["went_back"]["rejected"]), (&json!(0), &json!(5)), "{entry}");

    // The file that runs is put back: nothing new waits for another try.
    replace(&host, fs::read(guest("hostile").await).expect("a plugin")).await;
    let entry = host.returner("audit").await;
    assert_eq!(entry["went_back"], Value::Null, "{entry}");
}

/// One that is stopped by everything is known for it after a few items, not after all.
#[tokio::test]
async fn one_that_traps_on_what_the_one_before_stored() {
    let host = host().await;
    // It wants a connection that it is not given.
    replace(&host, fs::read(guest("trapping").await).expect("a plugin")).await;
    let jid = new_jid();
    let poison: Value =
        (0..RETURNS).map(|number| ret(&jid, &format!("m{number}"), "test.arg", json!("poison"))).collect();
    host.post("/v1/returns", &poison).await.expect(202);
    host.wait_drained("audit").await;
    let entry = host.returner("audit").await;
    assert_eq!(entry["went_back"]["to"], "hostile 0.1.0", "{entry}");
    assert_eq!(entry["dead"], 0, "{entry}");
}

/// What the one before did not store either says nothing of the new one.
#[tokio::test]
async fn one_that_is_no_worse_stays() {
    let host = host().await;
    let bad = |jid: &str| -> Value {
        (0..100).map(|number| ret(jid, &format!("m{number}"), "test.arg", json!("refuse"))).collect()
    };
    host.post("/v1/returns", &bad(&new_jid())).await.expect(202);
    host.wait_drained("audit").await;
    let rejected = host.returner("audit").await["dead"].clone();
    replace(&host, another_build(&guest("hostile").await, "another")).await;
    let mixed: Value = (0..100)
        .map(|number| {
            let text = if number % 3 == 0 { "refuse" } else { "fine" };
            ret("20260214093012345678", &format!("m{number}"), "test.arg", json!(text))
        })
        .collect();
    host.post("/v1/returns", &mixed).await.expect(202);
    host.wait_drained("audit").await;
    let entry = host.returner("audit").await;
    assert_eq!(entry["went_back"], Value::Null, "{entry}");
    assert_eq!(entry["dead"].as_u64(), rejected.as_u64().map(|dead| dead + 34));
}

/// The number of this name of the returner, and its plugin.
async fn looked_up(host: &Host, name: &str) -> (u64, String) {
    let entry = host.returner("audit").await;
    let plugin = entry["plugin"]["name"].as_str().unwrap_or_default().to_owned();
    (entry[name].as_u64().unwrap_or_default(), plugin)
}

/// One after the other, each waited for.
async fn send(host: &Host, count: usize) {
    for number in 0..count {
        host.post("/v1/returns", &ret(&new_jid(), &format!("m{number}"), "test.arg", json!("fine")))
            .await
            .expect(202);
        host.wait_drained("audit").await;
    }
}

/// Waits until so many more are stored than at the beginning, and by the good one.
async fn stored_by_the_good_one(host: &Host, more: u64) {
    until(&format!("{more} more to be stored"), async || match looked_up(host, "stored").await {
        (stored, plugin) if stored == RETURNS as u64 + more && plugin == "hostile" => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}

/// A change of the same returner that has nothing to do with its plugin takes neither what it has
/// shown so far, nor the one before.
#[tokio::test]
async fn other_settings_meanwhile_end_no_probation() {
    let host = host().await;
    replace(&host, fs::read(guest("reaching").await).expect("a plugin")).await;
    send(&host, 3).await;
    assert_eq!(looked_up(&host, "dead").await, (3, "reaching".to_owned()));
    host.reload("return: audit\naudit.plugin: plugin.wasm\naudit.limits: {time: 20s}\n").await.expect(200);
    send(&host, 2).await;
    stored_by_the_good_one(&host, 5).await;
    let entry = host.returner("audit").await;
    assert_eq!((&entry["went_back"]["to"], &entry["dead"]), (&json!("hostile 0.1.0"), &json!(0)), "{entry}");
}

/// A second bad build is compared with the good one, whatever the first one rejected.
#[tokio::test]
async fn a_second_bad_build_gives_the_place_back_to_the_good_one() {
    let host = host().await;
    let bad = guest("reaching").await;
    replace(&host, fs::read(&bad).expect("a plugin")).await;
    send(&host, 4).await;
    replace(&host, another_build(&bad, "second")).await;
    send(&host, 4).await;
    assert_eq!(looked_up(&host, "dead").await, (8, "reaching".to_owned()), "too few to say");
    send(&host, 1).await;
    stored_by_the_good_one(&host, 9).await;
    // What bad ones rejected is not the good one's: it is the measure again.
    replace(&host, another_build(&bad, "third")).await;
    send(&host, 5).await;
    stored_by_the_good_one(&host, 14).await;
    assert_eq!(looked_up(&host, "dead").await.0, 0);
}

/// The good one put back by hand is given what the bad one rejected.
#[tokio::test]
async fn the_good_one_put_back_by_hand_tries_what_was_rejected() {
    let host = host().await;
    replace(&host, fs::read(guest("reaching").await).expect("a plugin")).await;
    send(&host, 3).await;
    assert_eq!(looked_up(&host, "dead").await, (3, "reaching".to_owned()));
    replace(&host, fs::read(guest("hostile").await).expect("a plugin")).await;
    stored_by_the_good_one(&host, 3).await;
    assert_eq!(looked_up(&host, "dead").await, (0, "hostile".to_owned()));
}
