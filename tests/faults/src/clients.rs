//! Clients that send returns until they are told to stop, and note what was acknowledged.
//!
//! A client takes every answer that is none of its business (a refusal with 503, a
//! connection that breaks) and sends the same again; now and then it gives up after a
//! connection broke, as a minion that is switched off. Any other answer than 202 and 503
//! is a fault of the host.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use returner_servers::new_jid;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::items::{Content, Item, random_length};
use crate::ledger::Ledger;
use crate::targets::{Target, Targets};

/// How long a request may take. The host waits for no server before it answers.
const TO_ANSWER: Duration = Duration::from_secs(60);

/// How long a client tries to be rid of its last request after it was told to stop.
const TO_FINISH: Duration = Duration::from_secs(60);

/// The wait before the same is sent again, and the most that a client heeds Retry-After.
const AGAIN: Duration = Duration::from_millis(50);
const MOST_AGAIN: Duration = Duration::from_millis(500);

/// How many requests a client remembers, to send one of them to other returners.
const REMEMBERED: usize = 8;

/// Every so manyth return for the plugin that traps is poison.
const POISON: u64 = 397;

/// What clients send.
#[derive(Debug, Clone)]
pub(crate) struct Mix {
    /// The returners that requests name, in any combination.
    pub(crate) among: Vec<Target>,
    /// Those of a request that names none, if such are sent.
    pub(crate) default: Option<Targets>,
    /// The longest pause between two requests of a client, in milliseconds.
    pub(crate) pause: u64,
    /// The most returns of one request.
    pub(crate) most: usize,
    /// How long a return is; random if it is none.
    pub(crate) length: Option<usize>,
}

/// What clients saw, all together.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) acknowledged: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) broken: AtomicU64,
    pub(crate) abandoned: AtomicU64,
    /// The longest that an acknowledgement took, in milliseconds.
    pub(crate) slowest: AtomicU64,
    /// The faults that were injected meanwhile.
    pub(crate) faults: AtomicUsize,
}

/// Running clients.
#[derive(Debug)]
pub(crate) struct Clients {
    running: JoinSet<()>,
    stop: watch::Sender<bool>,
    pub(crate) counters: Arc<Counters>,
}

impl Clients {
    /// Starts so many; `url` is where returns are sent.
    pub(crate) fn start(url: &str, ledger: &Arc<Ledger>, mix: &Mix, seed: u64, count: usize) -> Self {
        let (stop, stopped) = watch::channel(false);
        let counters = Arc::new(Counters::default());
        let mut running = JoinSet::new();
        for number in 0..count {
            let client = Client {
                url: url.to_owned(),
                http: http(),
                ledger: Arc::clone(ledger),
                counters: Arc::clone(&counters),
                mix: mix.clone(),
                rng: Rng::with_seed(seed.wrapping_add(1 + number as u64)),
                stopped: stopped.clone(),
                recent: VecDeque::new(),
            };
            running.spawn(client.run());
        }
        Self { running, stop, counters }
    }

    /// Lets each end its last request; the host must be up.
    ///
    /// # Panics
    ///
    /// If one of them met a fault of the host.
    pub(crate) async fn finish(mut self) -> Arc<Counters> {
        self.stop.send_replace(true);
        while let Some(ended) = self.running.join_next().await {
            if let Err(error) = ended {
                std::panic::resume_unwind(error.into_panic());
            }
        }
        self.counters
    }
}

struct Client {
    url: String,
    http: reqwest::Client,
    ledger: Arc<Ledger>,
    counters: Arc<Counters>,
    mix: Mix,
    rng: Rng,
    stopped: watch::Receiver<bool>,
    recent: VecDeque<Vec<Item>>,
}

impl Client {
    async fn run(mut self) {
        while !*self.stopped.borrow() {
            let (items, named) = self.request();
            let targets = named.or(self.mix.default).expect("a mix without a default names returners");
            self.ledger.send(&items, targets);
            if self.deliver(&items, named).await {
                self.ledger.acknowledge(&items, targets);
                self.counters.acknowledged.fetch_add(items.len() as u64, Ordering::Relaxed);
                self.recent.push_back(items);
                if self.recent.len() > REMEMBERED {
                    self.recent.pop_front();
                }
            } else {
                self.counters.abandoned.fetch_add(items.len() as u64, Ordering::Relaxed);
            }
            let pause = Duration::from_millis(self.rng.u64(0..=self.mix.pause));
            tokio::time::sleep(pause).await;
        }
    }

    /// Returns, new ones or some that were sent before, and the returners to name.
    fn request(&mut self) -> (Vec<Item>, Option<Targets>) {
        let named = match self.mix.default {
            Some(_) if self.rng.u8(0..4) == 0 => None,
            _ => Some(Targets::random(&mut self.rng, &self.mix.among)),
        };
        if self.rng.u8(0..20) == 0
            && let Some(items) = self.recent.pop_front()
        {
            return (items, named);
        }
        let traps = named.is_some_and(|named| named.has(Target::Trapping));
        let single = self.mix.most < 2 || self.rng.bool();
        let count = if single { 1 } else { self.rng.usize(2..=self.mix.most) };
        let jid = new_jid();
        let first_minion = self.rng.u32(0..1000);
        let items = (0..count).map(|place| Item {
            jid: jid.clone(),
            minion: format!("minion{}", first_minion as usize + place),
            content: self.content(traps),
        });
        (items.collect(), named)
    }

    fn content(&mut self, traps: bool) -> Content {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let length = self.mix.length.unwrap_or_else(|| random_length(&mut self.rng));
        Content { number, length, is_poison: traps && self.rng.u64(0..POISON) == 0 }
    }

    /// Sends until it is acknowledged; says whether it was, or was given up.
    async fn deliver(&mut self, items: &[Item], named: Option<Targets>) -> bool {
        let url = match named {
            Some(targets) => format!("{}?returner={targets}", self.url),
            None => self.url.clone(),
        };
        let body = body(items);
        let mut deadline = None;
        loop {
            let began = Instant::now();
            let request = self.http.post(&url).header(CONTENT_TYPE, "application/json").body(body.clone());
            match request.send().await {
                Ok(answer) if answer.status() == 202 => {
                    let took = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
                    self.counters.slowest.fetch_max(took, Ordering::Relaxed);
                    return true;
                }
                Ok(answer) => self.refused(answer).await,
                Err(_) => {
                    self.counters.broken.fetch_add(1, Ordering::Relaxed);
                    if self.rng.u8(0..16) == 0 {
                        return false;
                    }
                    tokio::time::sleep(AGAIN).await;
                }
            }
            if *self.stopped.borrow() {
                let deadline = *deadline.get_or_insert(Instant::now() + TO_FINISH);
                assert!(Instant::now() < deadline, "the host takes nothing in, long after the last fault");
            }
        }
    }

    /// Waits as long as the host asks for.
    async fn refused(&self, answer: reqwest::Response) {
        let (status, headers) = (answer.status(), answer.headers().clone());
        if status != 503 {
            let text = answer.text().await.unwrap_or_default();
            panic!("the host answered {status} to good returns: {text}");
        }
        let asked = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let asked = asked.expect("a refusal with 503 has Retry-After, in seconds");
        self.counters.refused.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(asked).min(MOST_AGAIN)).await;
    }
}

/// One is an object, more are an array.
fn body(items: &[Item]) -> String {
    match items {
        [item] => item.as_json().to_string(),
        items => items.iter().map(Item::as_json).collect::<Value>().to_string(),
    }
}

fn http() -> reqwest::Client {
    // The client wants one even for plain HTTP; an error says that there is one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().timeout(TO_ANSWER).no_proxy().build();
    client.expect("a client without certificates can be built")
}
