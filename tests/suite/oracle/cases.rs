//! The items that both store.

use returner_servers::{Host, Salt, new_jid, ret};
use serde_json::{Map, Value, json};

/// A return with a name for messages, whose job id no other has.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) item: Value,
}

impl Case {
    pub(super) fn jid(&self) -> &str {
        self.item["jid"].as_str().unwrap_or_default()
    }
}

/// Returns of every kind that Salt's minions send.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |name, fun: &str, value: Value, more: Value| {
        let mut item = ret(&new_jid(), "web1", fun, value);
        for (key, value) in more.as_object().cloned().unwrap_or_default() {
            match value {
                Value::String(text) if text == "REMOVED" => {
                    item.as_object_mut().and_then(|item| item.remove(&key))
                }
                value => item.as_object_mut().and_then(|item| item.insert(key, value)),
            };
        }
        cases.push(Case { name, item });
    };
    add("plain", "test.ping", json!(true), json!({}));
    add("text", "cmd.run", json!("line 1\nline 2\t\"quoted\" 'single' \\ %s {}"), json!({}));
    add("unicode", "test.echo", json!({"näme": "日本 \u{1F600}"}), json!({}));
    add("numbers", "test.arg", json!([9_007_199_254_740_993_i64, -1, 1.5, 0, null, false]), json!({}));
    add("nested", "grains.items", json!({"a": {"b": [{"c": []}, {}]}, "d": ""}), json!({"out": "nested"}));
    let changes =
        json!({"pkg_|-nginx_|-nginx.x_|-installed": {"result": true, "changes": {"a.b": {"new": "1"}}}});
    add("state", "state.apply", changes, json!({"out": "highstate"}));
    add("failed", "state.apply", json!(["Rendering failed"]), json!({"success": false, "retcode": 2}));
    let arguments = json!(["a", {"__kwarg__": true, "b": 1}]);
    add("arguments", "test.arg", json!({"args": ["a"]}), json!({"fun_args": arguments}));
    let bus = json!({"cmd": "_return", "_stamp": "2026-02-14T09:30:12.345678", "ts": 1_795_422_206});
    add("from the bus", "test.ping", json!(true), bus);
    let few = json!({"success": "REMOVED", "retcode": "REMOVED", "fun_args": "REMOVED", "user": "REMOVED"});
    add("salt-ssh", "test.ping", json!(true), few);
    let two = json!({
        "fun": ["test.ping", "cmd.run"], "success": {"test.ping": true, "cmd.run": true},
        "retcode": {"test.ping": 0, "cmd.run": 0},
    });
    add("compound", "", json!({"test.ping": true, "cmd.run": "x"}), two);
    cases
}

/// Salt's options for returners.
pub(super) fn options(returner: &str, options: &[(&'static str, String)]) -> Map<String, Value> {
    let option = |(key, value): &(&str, String)| {
        // Salt's modules want a number where its documentation has one.
        let value = value.parse::<u16>().map_or_else(|_| json!(value), |number| json!(number));
        (format!("{returner}.{key}"), value)
    };
    options.iter().map(option).collect()
}

/// Lets both store all of them: Salt by this module, the host by what it is configured
/// for. Gives what Salt raised, by the name of the case.
pub(super) async fn store(
    cases: &[Case],
    salt: &mut Salt,
    module: &str,
    host: &Host,
) -> Vec<(&'static str, String)> {
    let mut raised = Vec::new();
    for case in cases {
        if let Err(error) = salt.try_call(module, "returner", [case.item.clone()]) {
            raised.push((case.name, error));
        }
        host.store("/v1/returns", &case.item).await;
    }
    raised
}
