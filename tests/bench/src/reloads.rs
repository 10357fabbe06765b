//! What a reload costs intake: the longest time without an acknowledgement while the host
//! changes its configuration, beside the longest in a time as long in which it does not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use comfy_table::{Table, presets};
use returner_servers::{Host, Mariadb, Redis};
use tokio::task::JoinSet;

use crate::http::Client;
use crate::sample::{next_round, sample};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How many reloads
    #[arg(long, default_value_t = 200)]
    count: usize,
    /// How many clients send meanwhile, one return a request
    #[arg(long, default_value_t = 4)]
    clients: usize,
}

/// When something began and ended.
type Span = (Instant, Instant);

pub(crate) async fn run(options: &Options) {
    let (mysql, redis) = (Mariadb::shared().await.database().await, Redis::shared().await.database().await);
    let version = |number: usize| {
        let more = match number % 4 {
            0 => format!("mysql.delivery.batch: {}\n", 100 + number),
            // Connections of its own.
            1 => format!("mysql.limits.host_call: {}s\n", 10 + number % 7),
            2 => format!("redis.limits.time: {}s\n", 20 + number % 9),
            // A returner more.
            _ => mysql.config_as("more.mysql"),
        };
        format!("return: [mysql, redis, sqlite3]\n{}{}{more}", mysql.config(), redis.config())
    };
    let host = Host::start(&version(0)).await;
    let stop = Arc::new(AtomicBool::new(false));
    let clients = send(&host, options.clients, &stop);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (mut reloads, mut others) = (Vec::new(), Vec::new());
    for number in 1..=options.count {
        let begun = Instant::now();
        host.reload(&version(number)).await.expect(200);
        let took = begun.elapsed();
        reloads.push((begun, begun + took));
        tokio::time::sleep(Duration::from_millis(50)).await;
        let rest = Instant::now();
        tokio::time::sleep(took).await;
        others.push((rest, Instant::now()));
    }
    stop.store(true, Ordering::Relaxed);
    let mut acknowledged: Vec<Instant> = clients.join_all().await.into_iter().flatten().collect();
    acknowledged.sort_unstable();
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header([
        "PAUSE OF INTAKE",
        "P50 MS",
        "P99 MS",
        "MOST MS",
        "SPAN P50 MS",
    ]);
    for (name, spans) in [("while it reloads", &reloads), ("as long, without", &others)] {
        let mut pauses: Vec<Duration> = spans.iter().map(|span| longest(&acknowledged, *span)).collect();
        let mut lengths: Vec<Duration> = spans.iter().map(|(begun, ended)| *ended - *begun).collect();
        pauses.sort_unstable();
        lengths.sort_unstable();
        let millis = |times: &[Duration], part: f64| {
            let at = ((times.len() as f64 * part) as usize).min(times.len().saturating_sub(1));
            format!("{:.1}", times[at].as_secs_f64() * 1e3)
        };
        table.add_row(vec![
            name.to_owned(),
            millis(&pauses, 0.5),
            millis(&pauses, 0.99),
            millis(&pauses, 1.0),
            millis(&lengths, 0.5),
        ]);
    }
    println!("{}\n{} reloads, {} acknowledgements", table.trim_fmt(), options.count, acknowledged.len());
}

/// Clients that send until they are stopped; each gives when it was acknowledged.
fn send(host: &Host, clients: usize, stop: &Arc<AtomicBool>) -> JoinSet<Vec<Instant>> {
    let address = host.url("").trim_start_matches("http://").to_owned();
    let round = next_round();
    let mut running = JoinSet::new();
    for number in 0..clients {
        let (address, stop) = (address.clone(), Arc::clone(stop));
        running.spawn(async move {
            let mut client = Client::connect(&address).await;
            let mut acknowledged = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let body = sample(round, number * 10_000_000 + acknowledged.len(), 300).full;
                client.post("/v1/returns", &body).await;
                acknowledged.push(Instant::now());
            }
            acknowledged
        });
    }
    running
}

/// The longest time between two acknowledgements that reaches into a span.
fn longest(acknowledged: &[Instant], (begun, ended): Span) -> Duration {
    let before = acknowledged.partition_point(|at| *at <= begun).saturating_sub(1);
    let after = (acknowledged.partition_point(|at| *at < ended) + 1).min(acknowledged.len());
    let gaps = acknowledged[before..after].windows(2).map(|pair| pair[1] - pair[0]);
    gaps.max().unwrap_or_default()
}
