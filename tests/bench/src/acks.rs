//! Durable acknowledgements: how many a second, and how long each takes.
//!
//! Each client sends one return a request and waits for its answer. Beside it, on the same
//! disk in the same run: NATS JetStream, which is asked to flush before it acknowledges
//! (`sync_interval: always`), and the disk's own flush, alone and while the lanes deliver:
//! their servers flush, too.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use comfy_table::{Table, presets};
use returner_servers::{Directory, Host, Mariadb, Nats, Redis, free_port};
use tokio::task::JoinSet;

use crate::http::Client;
use crate::sample::{next_round, sample};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How many clients at once, one measurement each
    #[arg(long, value_delimiter = ',', default_value = "1,8,64")]
    clients: Vec<usize>,
    /// How many seconds each measurement lasts
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// The bytes of what a return returned
    #[arg(long, default_value_t = 550)]
    size: usize,
}

/// What clients saw.
struct Figures {
    rate: f64,
    slowest_percent: Duration,
}

pub(crate) async fn run(options: &Options) {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header([
        "CLIENTS",
        "DISK P50 US",
        "DISK P99 US",
        "NATS/S",
        "HOST/S",
        "HOST/NATS",
        "NATS P99 US",
        "HOST P99 US",
        "WITH THREE LANES: HOST/S",
        "HOST P99 US",
        "DISK P99 US",
        "HOST/DISK",
    ]);
    for clients in &options.clients {
        let disk = Disk::default().measure(500, Duration::ZERO);
        let nats = nats(*clients, options).await;
        // No consumer on either side; then with all that a host usually does.
        let host = alone(*clients, options).await;
        let (busy, busy_disk) = delivering(*clients, options).await;
        let micros = |duration: Duration| format!("{:.0}", duration.as_secs_f64() * 1e6);
        table.add_row(vec![
            clients.to_string(),
            micros(disk.half),
            micros(disk.slowest_percent),
            format!("{:.0}", nats.rate),
            format!("{:.0}", host.rate),
            format!("{:.1}", host.rate / nats.rate),
            micros(nats.slowest_percent),
            micros(host.slowest_percent),
            format!("{:.0}", busy.rate),
            micros(busy.slowest_percent),
            micros(busy_disk.slowest_percent),
            format!("{:.1}", busy.slowest_percent.as_secs_f64() / busy_disk.slowest_percent.as_secs_f64()),
        ]);
    }
    println!("{}", table.trim_fmt());
}

/// Flushes of one page that is appended to a file where the journals are.
#[derive(Default)]
struct Disk {
    stop: Arc<AtomicBool>,
}

/// How long they took.
struct Flushes {
    half: Duration,
    slowest_percent: Duration,
}

impl Disk {
    /// So many, or until it is stopped.
    fn measure(&self, most: usize, pause: Duration) -> Flushes {
        let directory = Directory::new("flush");
        let mut file = File::create(directory.path().join("file")).unwrap_or_else(|error| panic!("{error}"));
        let mut times = Vec::new();
        while times.len() < most && !self.stop.load(Ordering::Relaxed) {
            let begun = Instant::now();
            let flushed = file.write_all(&[7; 4096]).and_then(|()| file.sync_data());
            flushed.unwrap_or_else(|error| panic!("{error}"));
            times.push(begun.elapsed());
            std::thread::sleep(pause);
        }
        times.sort_unstable();
        Flushes { half: part(&times, 0.5), slowest_percent: part(&times, 0.99) }
    }
}

/// The time that so many of the sorted ones are below.
fn part(times: &[Duration], part: f64) -> Duration {
    times.get((times.len() as f64 * part) as usize).copied().unwrap_or_default()
}

/// The host while its returner's server is away, so that it takes in and nothing else.
async fn alone(clients: usize, options: &Options) -> Figures {
    let mysql =
        format!("mysql.host: 127.0.0.1\nmysql.port: {}\nmysql.user: nobody\nmysql.db: x\n", free_port());
    let host = Host::start(&format!("return: mysql\n{mysql}")).await;
    measure(&host, clients, options).await
}

/// The host while three lanes deliver what it acknowledges, and the disk meanwhile, flushed
/// a hundred times a second.
async fn delivering(clients: usize, options: &Options) -> (Figures, Flushes) {
    let (mysql, redis) = (Mariadb::shared().await.database().await, Redis::shared().await.database().await);
    let config = format!("return: [mysql, redis, sqlite3]\n{}{}", mysql.config(), redis.config());
    let host = Host::start(&config).await;
    let disk = Disk::default();
    let stop = Arc::clone(&disk.stop);
    let flushes = tokio::task::spawn_blocking(move || disk.measure(usize::MAX, Duration::from_millis(10)));
    let figures = measure(&host, clients, options).await;
    stop.store(true, Ordering::Relaxed);
    (figures, flushes.await.unwrap_or_else(|error| panic!("{error}")))
}

async fn measure(host: &Host, clients: usize, options: &Options) -> Figures {
    let address = host.url("").trim_start_matches("http://").to_owned();
    let round = next_round();
    let mut running = JoinSet::new();
    for number in 0..clients {
        let (address, size, until) = (address.clone(), options.size, deadline(options));
        running.spawn(async move {
            let mut client = Client::connect(&address).await;
            let mut times = Vec::new();
            while Instant::now() < until {
                let body = sample(round, number * 1_000_000 + times.len(), size).full;
                let begun = Instant::now();
                client.post("/v1/returns", &body).await;
                times.push(begun.elapsed());
            }
            times
        });
    }
    figures(running, options).await
}

async fn nats(clients: usize, options: &Options) -> Figures {
    let server = Nats::start().await;
    let url = server.url().to_owned();
    let context = async_nats::jetstream::new(connect(&url).await);
    let stream = async_nats::jetstream::stream::Config {
        name: "RETURNS".to_owned(),
        subjects: vec!["returns".to_owned()],
        ..Default::default()
    };
    context.create_stream(stream).await.unwrap_or_else(|error| panic!("{error}"));
    let round = next_round();
    let mut running = JoinSet::new();
    for number in 0..clients {
        let (url, size, until) = (url.clone(), options.size, deadline(options));
        running.spawn(async move {
            let context = async_nats::jetstream::new(connect(&url).await);
            let mut times = Vec::new();
            while Instant::now() < until {
                let body = sample(round, number * 1_000_000 + times.len(), size).full;
                let begun = Instant::now();
                let sent = context.publish("returns", body.into()).await;
                let acknowledged = sent.unwrap_or_else(|error| panic!("{error}")).await;
                acknowledged.unwrap_or_else(|error| panic!("{error}"));
                times.push(begun.elapsed());
            }
            times
        });
    }
    figures(running, options).await
}

async fn connect(url: &str) -> async_nats::Client {
    async_nats::connect(url).await.unwrap_or_else(|error| panic!("{url}: {error}"))
}

fn deadline(options: &Options) -> Instant {
    Instant::now() + Duration::from_secs(options.seconds)
}

async fn figures(running: JoinSet<Vec<Duration>>, options: &Options) -> Figures {
    let mut times: Vec<Duration> = running.join_all().await.into_iter().flatten().collect();
    times.sort_unstable();
    Figures { rate: times.len() as f64 / options.seconds as f64, slowest_percent: part(&times, 0.99) }
}
