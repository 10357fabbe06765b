//! `returner token`: makes a token, of which the host knows the digest only.

use clap::{Args, ValueEnum};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{Failure, output};
use crate::config::Role;

/// So that one can be told for what it is, for example by what looks for leaked secrets.
const PREFIX: &str = "returner_";

#[derive(Debug, Args)]
pub(super) struct Token {
    /// A name to know it by, for example `minions`
    name: String,
    /// What it lets its owner do: send items; ask what was stored and how the host is
    /// doing; what a master with its jobs here does, which is both and to have old ones
    /// removed; or everything
    #[arg(long, value_enum)]
    role: RoleArg,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum RoleArg {
    Write,
    Read,
    Master,
    Admin,
}

#[derive(Debug, Serialize)]
struct Made {
    name: String,
    role: &'static str,
    token: String,
    sha256: String,
}

impl Token {
    pub(super) fn run(self) -> Result<(), Failure> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if self.name.is_empty() || !self.name.chars().all(is_plain) {
            let message = format!(
                "`{}` is no name for a token\n  hint: letters, digits, `-` and `_`, as in `minions`",
                self.name
            );
            return Err(Failure::usage(message));
        }
        let mut random = [0; 32];
        getrandom::fill(&mut random)
            .map_err(|error| Failure::failed(format!("the system gives no random numbers: {error}")))?;
        let token = format!("{PREFIX}{}", hex::encode(random));
        let sha256 = hex::encode(Sha256::digest(&token));
        let role = match self.role {
            RoleArg::Write => Role::Write,
            RoleArg::Read => Role::Read,
            RoleArg::Master => Role::Master,
            RoleArg::Admin => Role::Admin,
        };
        let made = Made { name: self.name, role: role.name(), token, sha256 };
        if self.json {
            return output::json(&made);
        }
        let Made { name, role, token, sha256 } = made;
        output::line(&format!("the token, which is shown this once:\n  {token}\n"))?;
        output::line(&format!(
            "what the host's configuration needs:\nhost.tokens.{name}: {{sha256: {sha256}, role: {role}}}"
        ))
    }
}
