//! `returner minions`: the minions that ever answered.

use clap::Args;
use serde::{Deserialize, Serialize};

use super::client::Client;
use super::{Failure, HostArgs, output};

#[derive(Debug, Args)]
pub(super) struct Minions {
    /// The returner to ask, instead of the one that the configuration names
    #[arg(long, value_name = "NAME")]
    returner: Option<String>,
    #[command(flatten)]
    host: HostArgs,
}

#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    minions: Vec<String>,
}

impl Minions {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let client = Client::new(&self.host)?;
        let query: Vec<_> = self.returner.iter().map(|name| ("returner", name.as_str())).collect();
        let answer: Answer = client.get("/v1/minions", &query).await?;
        if self.host.json {
            return output::json(&answer);
        }
        output::table(&["minion"], answer.minions.into_iter().map(|minion| vec![minion]).collect())
    }
}
