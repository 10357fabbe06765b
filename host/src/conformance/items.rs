//! What the checks deliver. Each item has a job id and a minion of its own, so that it can be
//! told apart in a store.

use serde_json::{Value, json};

use crate::items::{self, Item, Kind};

/// When the host accepted them all, in milliseconds since 1970: 2026-02-14 09:30 UTC.
pub(super) const ACCEPTED: u64 = 1_771_061_400_000;

/// The bytes of the value of a huge return.
const HUGE: usize = 4 << 20;

/// How deep an odd return's value is.
const DEEP: usize = 50;

/// The job id of the item of this number.
pub(super) fn jid(number: usize) -> String {
    format!("20260214{number:012}")
}

/// Whether the return of this number is a state run, of which one state changed something and one
/// failed: some plugins store nothing else.
pub(super) fn is_failed_run(number: usize) -> bool {
    number.is_multiple_of(3)
}

/// Items of one kind, with the numbers from the first one on.
pub(super) fn plain(kind: Kind, first: usize, count: usize) -> Vec<Item> {
    (first..first + count).map(|number| item(kind, &text(kind, number))).collect()
}

fn text(kind: Kind, number: usize) -> Value {
    let (jid, minion) = (jid(number), format!("minion{number}"));
    match kind {
        Kind::Return if is_failed_run(number) => json!({
            "jid": jid, "id": minion, "fun": "state.apply", "fun_args": ["web"], "retcode": 2, "success": false,
            "return": {
                "test_|-first_|-first_|-nop": {
                    "__id__": "first", "__run_num__": 0, "__sls__": "web", "name": "first",
                    "changes": {"testing": {"old": "Unchanged", "new": format!("text {number}")}},
                    "result": true, "comment": "Success!", "duration": 0.4
                },
                "cmd_|-second_|-false_|-run": {
                    "__id__": "second", "__run_num__": 1, "__sls__": "web", "name": "false", "changes": {},
                    "result": false, "comment": format!("text {number}"), "duration": 3.1
                }
            }
        }),
        Kind::Return => json!({
            "jid": jid, "id": minion, "fun": "test.echo", "fun_args": [format!("text {number}")],
            "return": format!("text {number}"), "retcode": 0, "success": true
        }),
        Kind::Load => json!({
            "jid": jid, "fun": "test.echo", "arg": [format!("text {number}")], "tgt": "*",
            "tgt_type": "glob", "user": "root", "Minions": [minion]
        }),
        Kind::Minions => json!({"jid": jid, "minions": [minion, format!("more{number}")]}),
        Kind::Event => json!({
            "tag": format!("salt/job/{jid}/ret/{minion}"), "master": "salt",
            "data": {"jid": jid, "id": minion, "_stamp": "2026-02-14T09:30:00.000000"}
        }),
    }
}

/// What one minion returned to one job by two functions, which is the same value.
pub(super) fn alike() -> Vec<Item> {
    let of = |fun: &str| {
        let mut full = text(Kind::Return, 1);
        full["fun"] = json!(fun);
        item(Kind::Return, &full)
    };
    ["test.echo", "test.arg_repr"].map(of).into()
}

/// A return of some megabytes.
pub(super) fn huge() -> Vec<Item> {
    let mut full = text(Kind::Return, 1);
    full["return"] = json!("0123456789abcdef".repeat(HUGE / 16));
    vec![item(Kind::Return, &full)]
}

/// What Salt really sends besides, and what it could send: each with a name.
pub(super) fn odd() -> Vec<(&'static str, Item)> {
    let of = |number: usize, changes: Value| {
        let mut full = text(Kind::Return, number);
        if let (Value::Object(full), Value::Object(changes)) = (&mut full, changes) {
            full.extend(changes);
        }
        item(Kind::Return, &full)
    };
    let deep = (0..DEEP).fold(json!("the end"), |inner, _| json!({"in": [inner]}));
    let wide: Value = (0..2000).map(|key| (format!("key{key}"), json!(key))).collect();
    let state = json!({
        "pkg_|-nginx_|-nginx_|-installed": {"result": true, "changes": {"nginx": {"old": "", "new": "1.22"}},
        "comment": "installed", "duration": 1234.567, "__run_num__": 0}
    });
    vec![
        ("unicode", of(1, json!({"return": "Grüße, 世界, \u{1F600}, e\u{301}, \u{202E}"}))),
        ("a null byte", of(2, json!({"return": "before\u{0}after"}))),
        ("keys with dots and dollars", of(3, json!({"return": {"a.b": 1, "$set": 2, "": 3, ".": 4}}))),
        ("deep nesting", of(4, json!({"return": deep}))),
        ("many keys", of(5, json!({"return": wide}))),
        (
            "a compound job",
            of(
                6,
                json!({
                    "fun": ["test.ping", "cmd.run"], "fun_args": [[], ["false"]],
                    "return": {"test.ping": true, "cmd.run": ""},
                    "retcode": {"test.ping": 0, "cmd.run": 1}, "success": {"test.ping": true, "cmd.run": false}
                }),
            ),
        ),
        ("a failed job", of(7, json!({"return": "no such command", "retcode": 127, "success": false}))),
        ("a state run", of(8, json!({"fun": "state.apply", "return": state, "out": "highstate"}))),
        ("a resource of a minion", of(9, json!({"resource_id": "switch/1", "resource_type": "network"}))),
        ("null", of(10, json!({"return": null}))),
        ("an empty object", of(11, json!({"return": {}}))),
        ("great numbers", of(12, json!({"return": [i64::MIN, u64::MAX, 1e308, -0.0, 1.0e-7]}))),
        ("quotes and backslashes", of(13, json!({"return": "'); DROP TABLE x; -- \" \\ % _ `"}))),
        ("line breaks", of(14, json!({"return": "one\r\ntwo\n\tthree\u{2028}"}))),
        ("a long function", of(15, json!({"fun": format!("module.{}", "x".repeat(200))}))),
        ("a long minion", of(16, json!({"id": format!("{}.example", "m".repeat(180))}))),
        ("no `success`", {
            let mut full = text(Kind::Return, 17);
            if let Value::Object(full) = &mut full {
                full.shift_remove("success");
            }
            item(Kind::Return, &full)
        }),
    ]
}

/// Text that this module made is well formed; should it not be, the check is of a sample.
fn item(kind: Kind, full: &Value) -> Item {
    let parsed = match kind {
        Kind::Minions => {
            let jid = full["jid"].as_str().unwrap_or_default();
            let minions = full["minions"].as_array().into_iter().flatten();
            let minions: Vec<String> = minions.filter_map(Value::as_str).map(str::to_owned).collect();
            items::parse_minions(jid, &minions)
        }
        _ => items::parse(kind, &full.to_string(), || jid(0)),
    };
    parsed.unwrap_or_else(|invalid| unreachable!("an item of the kit's own: {invalid}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_them_are_what_a_host_takes() {
        for kind in Kind::ALL {
            assert_eq!(plain(kind, 0, 3).len(), 3);
        }
        assert_eq!((huge().len(), alike().len()), (1, 2));
        assert_eq!(odd().len(), 17);
    }
}
