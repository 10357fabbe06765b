//! `returner serve`: runs the host.

use clap::Args;

use super::{ConfigArgs, Failure};
use crate::daemon::{self, DaemonError};
use crate::telemetry;

#[derive(Debug, Args)]
pub(super) struct Serve {
    #[command(flatten)]
    config: ConfigArgs,
}

impl Serve {
    pub(super) async fn run(self) -> Result<(), Failure> {
        telemetry::start();
        daemon::run(self.config.file().as_deref()).await.map_err(|error| match error {
            DaemonError::Config(_) | DaemonError::Build(_) => Failure::usage(error.to_string()),
            _ => Failure::failed(error.to_string()),
        })
    }
}
