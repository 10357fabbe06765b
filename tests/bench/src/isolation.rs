//! What one dead returner costs the three others: returns per second to the last one that
//! those stored, with the fourth one's server alive and killed.

use std::time::Instant;

use clap::Args;
use comfy_table::{Table, presets};
use returner_servers::{Flavour, Host, Mariadb, Mongodb, Redis, Server};

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
}

/// The returns of one request.
const REQUEST: usize = 100;

const OTHERS: [&str; 3] = ["redis", "mongo", "sqlite3"];

pub(crate) async fn run(options: &Options) {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(["ROUND", "ALL ALIVE/S", "ONE DEAD/S", "DEAD/ALIVE"]);
    let mut ratios = Vec::new();
    for round in 1..=options.rounds {
        // The dead one's load on the machine is gone too; so it is idle in both.
        let alive = measure(options.count, false).await;
        let dead = measure(options.count, true).await;
        ratios.push(dead / alive);
        let ratio = format!("{:.2}", dead / alive);
        table.add_row(vec![round.to_string(), format!("{alive:.0}"), format!("{dead:.0}"), ratio]);
    }
    ratios.sort_by(f64::total_cmp);
    println!("{}\nmedian of DEAD/ALIVE: {:.2}", table.trim_fmt(), ratios[ratios.len() / 2]);
}

/// Returns per second that the three others store. The fourth is not sent anything while
/// it is alive, so that what is compared is its death and not its work.
async fn measure(count: usize, dead: bool) -> f64 {
    let mut server = Mariadb::start().await;
    let mysql = server.database().await;
    let redis = Redis::shared().await.database().await;
    let mongo = Mongodb::start(Flavour::Nx).await;
    let connections = [mysql.config(), redis.config(), mongo.database().config()].concat();
    let host = Host::start(&format!("return: [{}]\n{connections}", OTHERS.join(", "))).await;
    let path = if dead {
        server.kill();
        "/v1/returns?returner=mysql,redis,mongo,sqlite3"
    } else {
        "/v1/returns"
    };
    let round = next_round();
    let begun = Instant::now();
    let address = host.url("").trim_start_matches("http://").to_owned();
    let mut client = Client::connect(&address).await;
    for from in (0..count).step_by(REQUEST) {
        let numbers = from..(from + REQUEST).min(count);
        let body = numbers.map(|number| sample(round, number, 300).full).collect::<Vec<_>>().join("\n");
        client.post(path, &body).await;
    }
    for name in OTHERS {
        host.wait_drained(name).await;
    }
    count as f64 / begun.elapsed().as_secs_f64()
}
