//! What a guest can import, one file each: `config`, `log`, `sql`, `redis`, `mongo`,
//! `http`, and WASI's own sockets and HTTP.
//!
//! Every capability asks the instance's grants first, and answers `denied` in its own
//! error type where there is none: a guest that reaches for what it was not given
//! goes on, and can say so.

mod config;
mod http;
mod log;
mod mongo;
mod redis;
mod sent;
pub(super) mod sockets;
mod sql;
pub(super) mod wasi_http;

use std::sync::Arc;
use std::time::Instant;

use bytesize::ByteSize;

pub(crate) use self::log::LogBudget;
pub(super) use self::wasi_http::{HEADERS, Requests};
use super::contract::v0_1::salt::returner::types;
use super::narrow::{Narrowed, Refused};
use super::state::GuestState;
use crate::connections::Connection;

impl types::Host for GuestState {}

impl GuestState {
    /// The connection that the configuration grants under the guest's name for it, or
    /// what to tell the guest.
    fn connection(&self, name: &str) -> Result<Arc<Connection>, String> {
        self.grants.connections.get(name).cloned().ok_or_else(|| {
            let granted: Vec<String> =
                self.grants.connections.keys().map(|name| format!("`{name}`")).collect();
            let granted = if granted.is_empty() { "none".to_owned() } else { granted.join(", ") };
            format!(
                "the connection `{name}` is not granted to `{}`; granted: {granted} (`{}.connections`)",
                self.grants.returner, self.grants.returner
            )
        })
    }

    /// Whether the configuration lets a call through that is on a granted connection, or
    /// what to tell the guest.
    fn narrowed(
        &self,
        name: &str,
        allows: impl FnOnce(&Narrowed) -> Result<(), Refused>,
    ) -> Result<(), String> {
        let allowed = self.grants.narrowed.get(name).map(|narrowed| allows(narrowed));
        allowed.unwrap_or(Ok(())).map_err(|refused| self.not_granted(name, &refused))
    }

    /// The same for a statement of SQL, whose reading is work of the guest's.
    async fn narrowed_statement(&mut self, name: &str, statement: &str) -> Result<(), String> {
        let Some(narrowed) = self.grants.narrowed.get(name).cloned() else { return Ok(()) };
        let allowed = self.in_its_place(narrowed.allows_statement(statement)).await;
        allowed.map_err(|refused| self.not_granted(name, &refused))
    }

    /// Work of the host's for which the guest's processor time runs.
    async fn in_its_place<T>(&mut self, work: impl Future<Output = T>) -> T {
        let begun = Instant::now();
        let done = work.await;
        self.usage.took(begun.elapsed());
        done
    }

    fn not_granted(&self, name: &str, refused: &Refused) -> String {
        format!("`{}` is not granted {refused} (`{0}.connections.{name}`)", self.grants.returner)
    }

    /// Whether a host call hands over no more than it may, or what to tell the guest.
    fn fits(&self, parts: impl IntoIterator<Item = usize>) -> Result<(), String> {
        let (bytes, bound) = (parts.into_iter().sum::<usize>() as u64, self.grants.limits.statement);
        if bytes <= bound {
            return Ok(());
        }
        let (bytes, bound) = (ByteSize(bytes), ByteSize(bound));
        Err(format!(
            "{bytes} in one call are more than {bound} (`{}.limits.statement`)",
            self.grants.returner
        ))
    }

    /// As [`connection`](Self::connection), for one that is of another kind.
    fn wrong_kind(name: &str, connection: &Connection, wanted: &str) -> String {
        format!("the connection `{name}` is of the kind {}, not {wanted}", connection.kind())
    }
}
