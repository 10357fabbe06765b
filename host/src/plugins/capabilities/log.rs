//! `log`: a guest's lines in the host's log, under the returner's name.

use crate::plugins::contract::salt::returner::log::{Host, Level};
use crate::plugins::state::GuestState;

/// The longest message and field, in bytes; the rest is cut.
const LONGEST: usize = 8 << 10;

impl Host for GuestState {
    async fn write(
        &mut self,
        level: Level,
        message: String,
        fields: Vec<(String, String)>,
    ) -> wasmtime::Result<()> {
        let returner = self.grants.returner.as_str();
        let message = clean(&message);
        let fields: String =
            fields.iter().map(|(name, value)| format!(" {}={:?}", clean(name), clean(value))).collect();
        let fields = cut(&fields);
        match level {
            Level::Trace => tracing::trace!(target: "plugin", returner, "{message}{fields}"),
            Level::Debug => tracing::debug!(target: "plugin", returner, "{message}{fields}"),
            Level::Info => tracing::info!(target: "plugin", returner, "{message}{fields}"),
            Level::Warn => tracing::warn!(target: "plugin", returner, "{message}{fields}"),
            Level::Error => tracing::error!(target: "plugin", returner, "{message}{fields}"),
        }
        Ok(())
    }
}

/// A guest must not be able to forge lines or to steer a terminal.
fn clean(text: &str) -> String {
    cut(text).chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST)]
}
