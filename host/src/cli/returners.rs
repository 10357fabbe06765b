//! `returner status`: how the returners are doing, and why one of them is not.

use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::client::Client;
use super::{Failure, HostArgs, output};

#[derive(Debug, Args)]
pub(super) struct Status {
    #[command(flatten)]
    host: HostArgs,
}

#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    returners: Vec<Returner>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Returner {
    name: String,
    state: String,
    depth: u64,
    oldest_ms: Option<u64>,
    stored: u64,
    dead: u64,
    last_error: Option<LastError>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Debug, Serialize, Deserialize)]
struct LastError {
    message: String,
    at: String,
    next_try_ms: Option<u64>,
}

impl Status {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let answer: Answer = Client::new(&self.host)?.get("/v1/returners", &[]).await?;
        if self.host.json {
            return output::json(&answer);
        }
        output::table(
            &["returner", "state", "behind", "oldest", "stored", "dead"],
            answer.returners.iter().map(row).collect(),
        )?;
        for returner in answer.returners.iter().filter(|returner| returner.state != "ready") {
            if let Some(error) = &returner.last_error {
                let next = error.next_try_ms.map(|millis| format!("; next try in {}", seconds(millis)));
                let next = next.unwrap_or_default();
                output::line(&format!("\n{}: since {}: {}{next}", returner.name, error.at, error.message))?;
            }
        }
        Ok(())
    }
}

fn row(returner: &Returner) -> Vec<String> {
    vec![
        returner.name.clone(),
        returner.state.clone(),
        returner.depth.to_string(),
        returner.oldest_ms.map(seconds).unwrap_or_default(),
        returner.stored.to_string(),
        returner.dead.to_string(),
    ]
}

fn seconds(millis: u64) -> String {
    format!("{:.1}s", millis as f64 / 1000.0)
}
