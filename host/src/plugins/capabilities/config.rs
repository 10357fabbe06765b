//! `config`: the returner's options.

use crate::plugins::contract::v0_1::salt::returner::config::Host;
use crate::plugins::state::GuestState;

impl Host for GuestState {
    async fn get(&mut self, name: String) -> wasmtime::Result<Option<String>> {
        Ok(self.grants.options.get(&name).cloned())
    }

    async fn all(&mut self) -> wasmtime::Result<Vec<(String, String)>> {
        Ok(self.grants.options.clone().into_iter().collect())
    }
}
