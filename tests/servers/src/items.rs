//! Returns, loads and events as Salt sends them.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

/// A job id that no other test of this process has. Later ones are greater.
#[must_use]
pub fn new_jid() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("20260214093012{number:06}")
}

/// A return as a minion's returner sees it.
#[must_use]
pub fn ret(jid: &str, minion: &str, fun: &str, value: Value) -> Value {
    json!({
        "success": true, "return": value, "retcode": 0, "jid": jid, "fun": fun, "fun_args": [], "user": "root",
        "id": minion,
    })
}

/// A load as the master publishes it.
#[must_use]
pub fn load(jid: &str, fun: &str) -> Value {
    json!({
        "cmd": "publish", "tgt": "*", "fun": fun, "arg": [], "tgt_type": "glob", "ret": "", "jid": jid,
        "kwargs": {"delimiter": ":"}, "user": "root",
    })
}

/// An event as it is on the master's bus.
#[must_use]
pub fn event(tag: &str, data: Value) -> Value {
    json!({"tag": tag, "data": data})
}
