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
