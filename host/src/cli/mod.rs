//! The command line: one file a command.

mod bench;
mod body;
mod check;
mod client;
mod compile;
mod completions;
mod crashes;
mod dead;
mod jobs;
mod journal;
mod lanes;
mod minions;
mod new;
mod output;
mod plugins;
mod problem;
mod reload;
mod replay;
mod run;
mod salt;
mod schema;
mod scratch;
mod send;
mod serve;
mod status;
mod test;
mod token;
mod trial;
mod watch;

use std::env;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::LazyLock;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

pub(crate) use output::Failure;

use crate::plugins::SPOKEN;

/// Stores what Salt's minions answered, through sandboxed plugins.
///
/// Exit codes: 0 done; 1 it failed; 2 the command line or the configuration is wrong;
/// 3 the host cannot be reached; 4 the host refused some of it.
#[derive(Debug, Parser)]
#[command(name = "returner", version, long_version = VERSION.as_str(), arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// With the versions of the contract, which a plugin's author wants to know.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let spoken: Vec<&str> = SPOKEN.iter().map(|version| version.number).collect();
    format!("{}\nsalt:returner {}", env!("CARGO_PKG_VERSION"), spoken.join(", "))
});

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the host
    Serve(serve::Serve),
    /// Check the configuration as loading does, and say everything that is wrong
    Check(check::Check),
    /// Send returns from a file or from stdin, as NDJSON or a JSON array
    Send(send::Send),
    /// List the jobs, or show one with its returns
    Jobs(jobs::Jobs),
    /// List the minions that ever answered
    Minions(minions::Minions),
    /// Show how the returners of a running host are doing
    #[command(alias = "returners")]
    Status(status::Status),
    /// Let a running host read its configuration again, or say what would change
    Reload(reload::Reload),
    /// Drop what is kept for a returner that is gone
    Lanes(lanes::LanesCommand),
    /// List, show, replay or drop what a returner rejected for good
    Dead(dead::Dead),
    /// Check, or rescue, the journal of a host that does not run
    Journal(journal::JournalCommand),
    /// List the plugins, or show what one exports, imports and would need
    Plugins(plugins::Plugins),
    /// Make a token for those who talk to the host, and the lines that let it know them
    Token(token::Token),
    /// Connect Salt to the host: its modules, its job cache, and what is wrong with it
    Salt(salt::SaltCommand),
    /// Print the SQL of a schema
    Schema(schema::Schema),
    /// Print completions for a shell
    Completions(completions::Completions),
    /// Compile one component, for a host that started this
    #[command(hide = true)]
    Compile(compile::Compile),
}

/// Which configuration.
#[derive(Debug, Args)]
struct ConfigArgs {
    /// The configuration file; without it `/etc/returner/returner.yaml` if that is
    /// there, or else the defaults
    #[arg(long, value_name = "FILE", env = "RETURNER_CONFIG", global = true)]
    config: Option<PathBuf>,
}

impl ConfigArgs {
    fn file(&self) -> Option<PathBuf> {
        let usual = || Some(PathBuf::from("/etc/returner/returner.yaml")).filter(|path| path.exists());
        self.config.clone().or_else(usual)
    }
}

/// Which running host, and how to print.
#[derive(Debug, Args)]
struct HostArgs {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    reach: Reach,
    /// Print JSON instead of tables
    #[arg(long)]
    json: bool,
}

/// Where a running host is, and what to show it.
#[derive(Debug, Args)]
struct Reach {
    /// The host's URL (`http://`, `https://` or `unix:PATH`); without it where the host of the
    /// configuration's `host.data` listens, or what the configuration says
    #[arg(long, value_name = "URL", env = "RETURNER_URL")]
    url: Option<String>,
    /// A file with the token to show, where `$RETURNER_TOKEN` does not have it
    #[arg(long, value_name = "FILE", env = "RETURNER_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// A PEM file with the authority that signed the host's certificate
    #[arg(long, value_name = "FILE", env = "RETURNER_CA")]
    ca: Option<PathBuf>,
    /// A PEM file with the certificate to show, and its key
    #[arg(long, value_name = "FILE", env = "RETURNER_IDENTITY")]
    identity: Option<PathBuf>,
}

/// A variable that is set and empty is as one that is not set: that is how a service's file
/// or a shell turns one off.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    let is_empty = |name: &OsStr| env::var_os(name).is_some_and(|value| value.is_empty());
    let command = command.mut_args(|argument| match argument.get_env() {
        Some(name) if is_empty(name) => argument.env(None::<&'static str>),
        _ => argument,
    });
    command.mut_subcommands(without_empty_variables)
}

/// What a thread's stack may grow to: SQLite, and who reads a statement, go down as many levels
/// as a plugin's statement has. Nothing is taken of it before it is needed.
const STACK: usize = 32 << 20;

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = without_empty_variables(Cli::command()).get_matches();
    let cli = Cli::from_arg_matches(&arguments).unwrap_or_else(|error| error.exit());
    let command = match cli.command {
        // It has bounds of its own, and no use for what comes now.
        Command::Compile(command) => return command.run(),
        command => command,
    };
    // Two libraries use TLS and neither is to choose.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = match builder.enable_all().thread_stack_size(STACK).build() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::failed(format!("cannot start: {error}")).report(),
    };
    let result = runtime.block_on(async {
        match command {
            Command::Serve(command) => command.run().await,
            Command::Check(command) => command.run().await,
            Command::Send(command) => command.run().await,
            Command::Jobs(command) => command.run().await,
            Command::Minions(command) => command.run().await,
            Command::Status(command) => command.run().await,
            Command::Reload(command) => command.run().await,
            Command::Lanes(command) => command.run().await,
            Command::Dead(command) => command.run().await,
            Command::Journal(command) => command.run(),
            Command::Plugins(command) => command.run().await,
            Command::Token(command) => command.run(),
            Command::Salt(command) => command.run().await,
            Command::Schema(command) => command.run(),
            Command::Completions(command) => command.run(),
            Command::Compile(_) => Ok(()),
        }
    });
    // A guest that is still being compiled, or a query that hangs, must not hold up the
    // end.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
