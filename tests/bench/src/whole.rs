//! The whole way: posted over HTTP by several clients, acknowledged after the flush,
//! delivered by the plugin, stored.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use returner_servers::Host;

use crate::process::{cpu_seconds, memory_mib};
use crate::sample::{next_round, sample};
use crate::store::Store;

/// The returns of one request.
const REQUEST: usize = 100;

pub(crate) struct Figures {
    /// Returns per second from the first request to the last one stored.
    pub(crate) rate: f64,
    /// Processor time of the host for each return, in microseconds.
    pub(crate) cpu_micros: f64,
    /// The memory of the host at the end.
    pub(crate) memory_mib: f64,
}

pub(crate) async fn measure(store: &Store, count: usize, size: usize, clients: usize) -> Figures {
    let host = Host::start(&store.config()).await;
    store.clear().await;
    let round = next_round();
    // Made before, so that only the host is measured.
    let bodies: Vec<String> = (0..count)
        .step_by(REQUEST)
        .map(|from| {
            let numbers = from..(from + REQUEST).min(count);
            numbers.map(|number| sample(round, number, size).full).collect::<Vec<_>>().join("\n")
        })
        .collect();
    let bodies = Arc::new(bodies);
    let next = Arc::new(AtomicUsize::new(0));
    let url = host.url("/v1/returns");
    let cpu = cpu_seconds(host.id());
    let begun = Instant::now();
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..clients {
        running.spawn(send(url.clone(), Arc::clone(&bodies), Arc::clone(&next)));
    }
    running.join_all().await;
    stored(&host, store.name(), count).await;
    let seconds = begun.elapsed().as_secs_f64();
    let cpu = cpu_seconds(host.id()) - cpu;
    Figures {
        rate: count as f64 / seconds,
        cpu_micros: cpu * 1e6 / count as f64,
        memory_mib: memory_mib(host.id()),
    }
}

async fn send(url: String, bodies: Arc<Vec<String>>, next: Arc<AtomicUsize>) {
    let client =
        reqwest::Client::builder().no_proxy().build().expect("a client without certificates can be built");
    while let Some(body) = bodies.get(next.fetch_add(1, Ordering::Relaxed)) {
        let answer = client.post(&url).body(body.clone()).send().await;
        let answer = answer.unwrap_or_else(|error| panic!("{url}: {error}"));
        assert_eq!(answer.status(), 202, "{:?}", answer.text().await);
    }
}

async fn stored(host: &Host, name: &str, count: usize) {
    let begun = Instant::now();
    loop {
        let entry = host.returner(name).await;
        if entry["stored"].as_u64() == Some(count as u64) {
            return;
        }
        assert!(begun.elapsed().as_secs() < 600, "not stored: {entry}\n{}", host.log());
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}
