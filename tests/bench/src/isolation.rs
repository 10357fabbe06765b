//! What one returner's trouble costs the three others: returns per second to the last one that
//! those stored, with the fourth one well and in trouble.

use std::time::Instant;

use clap::Args;
use comfy_table::{Table, presets};
use returner_servers::{Flavour, Host, Mariadb, Mongodb, Redis, Server, guest};

use crate::http::Client;
use crate::sample::{next_round, sample};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How many returns
    #[arg(long, default_value_t = 50_000)]
    count: usize,
    /// How many times both are measured, in turn
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// The troubles: `dead`, or what `tests/guests/hostile` can do
    #[arg(long, value_delimiter = ',', default_value = "dead,loop,allocate,recurse,trap,flood,refuse")]
    troubles: Vec<String>,
}

/// The returns of one request.
const REQUEST: usize = 100;

/// How many minions send what does harm: those of one go to one worker, and the host must bear that
/// all of them are busy.
const MINIONS: usize = 8;

const OTHERS: [&str; 3] = ["redis", "mongo", "sqlite3"];

pub(crate) async fn run(options: &Options) {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(["TROUBLE", "WELL/S", "IN TROUBLE/S", "MEDIAN OF RATIOS"]);
    for trouble in &options.troubles {
        let mut rounds = Vec::new();
        for _ in 0..options.rounds {
            let (well, ill) = match trouble.as_str() {
                "dead" => (dead(options.count, false).await, dead(options.count, true).await),
                how => (hostile(options.count, "fine").await, hostile(options.count, how).await),
            };
            rounds.push((ill / well, well, ill));
        }
        rounds.sort_by(|one, other| one.0.total_cmp(&other.0));
        let (ratio, well, ill) = rounds[rounds.len() / 2];
        table.add_row(vec![
            trouble.clone(),
            format!("{well:.0}"),
            format!("{ill:.0}"),
            format!("{ratio:.2}"),
        ]);
    }
    println!("{}", table.trim_fmt());
}

/// The fourth's server is alive or killed. The fourth is not sent anything while it is alive,
/// so that what is compared is its death and not its work.
async fn dead(count: usize, dead: bool) -> f64 {
    let mut server = Mariadb::start().await;
    let mysql = server.database().await;
    let others = Others::start(&mysql.config()).await;
    let path = if dead {
        server.kill();
        "/v1/returns?returner=mysql,redis,mongo,sqlite3"
    } else {
        "/v1/returns"
    };
    others.measure(count, path, None).await
}

/// The fourth is a plugin that is sent a return of each of some minions with each hundred of the
/// others': one that it stores, or one for which it does harm.
async fn hostile(count: usize, how: &str) -> f64 {
    let plugin = guest("hostile").await;
    let others = Others::start(&format!("hostile.plugin: {}\n", plugin.display())).await;
    others.measure(count, "/v1/returns", Some(how)).await
}

struct Others {
    host: Host,
    _servers: (returner_servers::RedisDatabase, Mongodb),
}

impl Others {
    async fn start(fourth: &str) -> Self {
        let redis = Redis::shared().await.database().await;
        let mongo = Mongodb::start(Flavour::Nx).await;
        let connections = [redis.config(), mongo.database().config()].concat();
        let host = Host::start(&format!("return: [{}]\n{connections}{fourth}", OTHERS.join(", "))).await;
        Self { host, _servers: (redis, mongo) }
    }

    /// Returns per second that the three others store.
    async fn measure(&self, count: usize, path: &str, hostile: Option<&str>) -> f64 {
        let round = next_round();
        let address = self.host.url("").trim_start_matches("http://").to_owned();
        let mut client = Client::connect(&address).await;
        let begun = Instant::now();
        for from in (0..count).step_by(REQUEST) {
            let numbers = from..(from + REQUEST).min(count);
            let body = numbers.map(|number| sample(round, number, 300).full).collect::<Vec<_>>().join("\n");
            client.post(path, &body).await;
            if let Some(how) = hostile {
                let jid = format!("2027{:04}{from:012}", round % 10_000);
                let items: Vec<String> = (1..=MINIONS)
                    .map(|number| {
                        format!(r#"{{"jid":"{jid}","id":"web{number}","fun":"test.arg","return":"{how}"}}"#)
                    })
                    .collect();
                client.post("/v1/returns?returner=hostile", &items.join("\n")).await;
            }
        }
        for name in OTHERS {
            self.host.wait_drained(name).await;
        }
        count as f64 / begun.elapsed().as_secs_f64()
    }
}
