//! A server that refuses keys with dots and dollars is killed, and the host too, while
//! such returns are delivered. What was acknowledged is read back as it was sent.

use std::collections::BTreeMap;

use fastrand::Rng;
use returner_servers::{Flavour, Host, Mongodb, Server, new_jid, ret};
use serde_json::{Value, json};

use super::Options;
use crate::bed::{drain, limits};
use crate::report::Summary;

const ROUNDS: usize = 3;
const JOBS: usize = 6;

/// The returns of a job: some of each kind, so that most batches are refused in part.
const RETURNS: usize = 20;

pub(super) async fn run(options: &Options) -> Summary {
    let mut rng = Rng::with_seed(options.seed);
    let mut server = Mongodb::start(Flavour::Ferret).await;
    let database = server.database();
    let mut host = Host::start(&format!("return: mongo\n{}{}", database.config(), limits("mongo"))).await;
    let mut sent = BTreeMap::new();
    for round in 0..ROUNDS {
        for _ in 0..JOBS {
            let jid = new_jid();
            let items: Vec<Value> = (0..RETURNS)
                .map(|place| ret(&jid, &format!("minion{place:02}"), "state.apply", value(&mut rng)))
                .collect();
            host.post("/v1/returns", &json!(items)).await.expect(202);
            sent.insert(jid, items);
        }
        // At whatever point delivery is now.
        server.kill();
        if round % 2 == 0 {
            host.kill();
            host.restart().await;
        }
        server.restart().await;
    }
    drain(&host).await;
    assert_eq!(host.returner("mongo").await["dead"], 0, "no return is a dead letter: {}", host.log());
    for (jid, items) in &sent {
        let answer = host.get(&format!("/v1/jobs/{jid}/returns?returner=mongo")).await.expect(200).json();
        let mut found: Vec<Value> = answer["returns"].as_array().cloned().unwrap_or_default();
        found.sort_by_key(|entry| entry["full"]["id"].as_str().unwrap_or_default().to_owned());
        let found: Vec<Value> = found.into_iter().map(|mut entry| entry["full"].take()).collect();
        assert_eq!(found, *items, "job {jid}");
    }
    let all = sent.values().map(Vec::len).sum();
    Summary { acknowledged: all, owed: all, stored: all, faults: ROUNDS * 3 / 2, ..Summary::default() }
}

fn value(rng: &mut Rng) -> Value {
    let number = rng.u32(..);
    match rng.u8(0..3) {
        0 => json!({"plain": number}),
        1 => json!({"a.b": number, "c": {"$set": [1, {"d.e": null}]}}),
        _ => json!({"$oid": number.to_string()}),
    }
}
