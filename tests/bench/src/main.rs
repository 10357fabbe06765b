//! Benchmarks. Every figure is of one run on one machine, so only the ratios say anything.

mod acks;
mod http;
mod isolation;
mod limit;
mod process;
mod reloads;
mod salt;
mod sample;
mod store;
mod stores;
mod whole;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Returns per second into each store, beside Salt's own returner and the server's limit
    Stores(stores::Options),
    /// Durable acknowledgements per second and their delay, beside NATS JetStream and the disk
    Acks(acks::Options),
    /// What one returner in trouble costs the three others
    Isolation(isolation::Options),
    /// How long intake pauses while the configuration changes
    Reloads(reloads::Options),
}

#[tokio::main]
async fn main() {
    match Cli::parse().command {
        Some(command) => command.run().await,
        None => {
            for name in ["stores", "acks", "isolation", "reloads"] {
                println!("\n{name}");
                if let Some(command) = Cli::parse_from(["returner-bench", name]).command {
                    command.run().await;
                }
            }
        }
    }
}

impl Command {
    async fn run(&self) {
        match self {
            Command::Stores(options) => stores::run(options).await,
            Command::Acks(options) => acks::run(options).await,
            Command::Isolation(options) => isolation::run(options).await,
            Command::Reloads(options) => reloads::run(options).await,
        }
    }
}
