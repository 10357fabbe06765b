//! One message of the bus, and which item it becomes.
//!
//! | tag | item |
//! |---|---|
//! | `salt/job/JID/new` | a load |
//! | `salt/job/JID/ret/MINION` | a return |
//! | `salt/run/JID/ret` | a return of the master itself, as Salt's job cache has it |
//! | all else | an event, if `host.salt_event_tags` lets it through |
//!
//! `ret_config` and `ret_kwargs` are left out of a return: they chose among the returners of
//! the minion's command, and what comes by the bus goes to those of `return`.

use std::collections::{HashMap, VecDeque};

use serde_json::{Map, Value, json};

use crate::config::Tags;
use crate::items::{Kind, NoMsgpack, from_msgpack};

/// What Salt writes in place of a value that is too large for its bus
/// (`salt.utils.dicttrim`).
const TRIMMED: &str = "VALUE_TRIMMED";

/// What marks a return that has such a value in it.
const MARK: &str = "value_trimmed";

/// How many runs of the master that have begun are remembered.
const MOST_RUNS: usize = 1000;

/// What a message becomes.
#[derive(Debug, PartialEq)]
pub(super) struct Sorted {
    pub(super) kind: Kind,
    /// JSON, as intake takes it.
    pub(super) text: String,
    /// Salt left something out of it.
    pub(super) trimmed: bool,
}

/// Why a message becomes nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadMessage {
    #[error("it has no tag")]
    NoTag,
    #[error(transparent)]
    Data(#[from] NoMsgpack),
}

/// Makes items of messages.
pub(super) struct Sorter {
    tags: Tags,
    /// Salt's name of the master, whose returns those of its runners are.
    master: String,
    begun: Runs,
}

impl Sorter {
    pub(super) fn new(tags: Tags, master: String) -> Self {
        Self { tags, master, begun: Runs::default() }
    }

    /// Nothing for a message that nobody wants.
    pub(super) fn sort(&mut self, body: &[u8]) -> Result<Option<Sorted>, BadMessage> {
        let end = body.windows(2).position(|pair| pair == b"\n\n").ok_or(BadMessage::NoTag)?;
        let tag = String::from_utf8_lossy(&body[..end]).into_owned();
        let data = match from_msgpack(&body[end + 2..])? {
            Value::Object(data) => data,
            other => Map::from_iter([("data".to_owned(), other)]),
        };
        let parts: Vec<&str> = tag.split('/').collect();
        Ok(match parts[..] {
            ["salt", "job", _, "new"] if is_load(&data) => Some(item(Kind::Load, data)),
            // The id of a minion may have slashes in it.
            ["salt", "job", _, "ret", ..] if is_return(&data) => Some(returned(data)),
            ["salt", "run", _, "ret"] if is_run(&data) => Some(self.run(data)),
            // Salt's older tags: the same message comes under its present one, too.
            ["new_job"] if is_load(&data) => None,
            [jid] if is_return(&data) && data.get("jid").and_then(Value::as_str) == Some(jid) => None,
            _ => {
                if let ["salt", "run", _, "new"] = parts[..] {
                    self.begun.note(&data);
                }
                self.tags.let_through(&tag).then(|| item(Kind::Event, event(tag, data)))
            }
        })
    }

    /// A runner's return, as `salt.client.mixins` gives it to the master's job cache: the
    /// whole of its data is what the master returned, with the moment at which it began.
    fn run(&mut self, mut data: Map<String, Value>) -> Sorted {
        if let Some(stamp) = self.begun.take(&data) {
            data.insert("_stamp".to_owned(), stamp);
        }
        let mut answer = Map::new();
        answer.insert("id".to_owned(), json!(self.master));
        answer.insert("tgt".to_owned(), json!(self.master));
        for key in ["jid", "fun", "user", "success", "retcode"] {
            if let Some(value) = data.get(key) {
                answer.insert(key.to_owned(), value.clone());
            }
        }
        answer.insert("return".to_owned(), Value::Object(data));
        returned(answer)
    }
}

fn item(kind: Kind, members: Map<String, Value>) -> Sorted {
    Sorted { kind, text: Value::Object(members).to_string(), trimmed: false }
}

fn event(tag: String, data: Map<String, Value>) -> Map<String, Value> {
    Map::from_iter([("tag".to_owned(), Value::String(tag)), ("data".to_owned(), Value::Object(data))])
}

fn returned(mut data: Map<String, Value>) -> Sorted {
    data.remove("ret_config");
    data.remove("ret_kwargs");
    let trimmed = data.get("return").is_some_and(is_trimmed);
    if trimmed {
        data.insert(MARK.to_owned(), Value::Bool(true));
    }
    Sorted { trimmed, ..item(Kind::Return, data) }
}

fn is_load(data: &Map<String, Value>) -> bool {
    ["jid", "fun"].into_iter().all(|key| data.contains_key(key))
}

fn is_return(data: &Map<String, Value>) -> bool {
    ["jid", "id", "fun", "return"].into_iter().all(|key| data.contains_key(key))
}

fn is_run(data: &Map<String, Value>) -> bool {
    ["jid", "fun", "return"].into_iter().all(|key| data.contains_key(key))
}

fn is_trimmed(value: &Value) -> bool {
    match value {
        Value::String(text) => text == TRIMMED,
        // Salt looks into dictionaries only; a list is left out whole.
        Value::Object(members) => members.values().any(is_trimmed),
        _ => false,
    }
}

/// When the newest runs of the master began, by job id.
#[derive(Debug, Default)]
struct Runs {
    stamps: HashMap<String, Value>,
    order: VecDeque<String>,
}

impl Runs {
    fn note(&mut self, data: &Map<String, Value>) {
        let (Some(Value::String(jid)), Some(stamp)) = (data.get("jid"), data.get("_stamp")) else { return };
        if self.stamps.insert(jid.clone(), stamp.clone()).is_none() {
            self.order.push_back(jid.clone());
        }
        if self.order.len() > MOST_RUNS
            && let Some(oldest) = self.order.pop_front()
        {
            self.stamps.remove(&oldest);
        }
    }

    fn take(&mut self, data: &Map<String, Value>) -> Option<Value> {
        self.stamps.remove(data.get("jid")?.as_str()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(tag: &str, data: &Value) -> Vec<u8> {
        let packed: rmpv::Value = rmpv::ext::to_value(data).expect("JSON is MessagePack");
        let mut body = format!("{tag}\n\n").into_bytes();
        rmpv::encode::write_value(&mut body, &packed).expect("memory can be written to");
        body
    }

    fn sort(sorter: &mut Sorter, tag: &str, data: &Value) -> Option<(Kind, Value, bool)> {
        let sorted = sorter.sort(&message(tag, data)).expect("a message")?;
        Some((sorted.kind, serde_json::from_str(&sorted.text).expect("JSON"), sorted.trimmed))
    }

    fn sorter(tags: &[&str]) -> Sorter {
        Sorter::new(Tags::of(tags), "m_master".to_owned())
    }

    #[test]
    fn each_message_becomes_its_item() {
        let mut sorter = sorter(&["minion/*", "!minion/refresh/*"]);
        let load = json!({"jid": "1", "fun": "test.ping", "tgt": "*", "minions": ["a"]});
        assert_eq!(sort(&mut sorter, "salt/job/1/new", &load), Some((Kind::Load, load.clone(), false)));
        let answer = json!({"jid": "1", "id": "a/b", "fun": "test.ping", "return": true, "ret_config": "x"});
        let taken = json!({"jid": "1", "id": "a/b", "fun": "test.ping", "return": true});
        assert_eq!(sort(&mut sorter, "salt/job/1/ret/a/b", &answer), Some((Kind::Return, taken, false)));
        let start = json!({"id": "a"});
        let event = json!({"tag": "minion/start", "data": start});
        assert_eq!(sort(&mut sorter, "minion/start", &start), Some((Kind::Event, event, false)));
        assert_eq!(sort(&mut sorter, "minion/refresh/a", &start), None);
        assert_eq!(sort(&mut sorter, "salt/auth", &start), None);
        // Salt sends both under their older tags as well.
        assert_eq!(sort(&mut self::sorter(&[]), "new_job", &load), None);
        assert_eq!(sort(&mut self::sorter(&[]), "1", &answer), None);
        // A return without what makes it one is an event like another.
        let mut all = self::sorter(&[]);
        let odd = json!({"jid": "1"});
        assert_eq!(sort(&mut all, "salt/job/1/ret/a", &odd).map(|sorted| sorted.0), Some(Kind::Event));
    }

    #[test]
    fn a_runners_return_is_what_the_job_cache_is_given() {
        let mut sorter = sorter(&["!*"]);
        let begun = json!({"jid": "7", "fun": "runner.jobs.list_jobs", "user": "root", "_stamp": "early"});
        assert_eq!(sort(&mut sorter, "salt/run/7/new", &begun), None);
        let ended = json!({
            "jid": "7", "fun": "runner.jobs.list_jobs", "user": "root", "_stamp": "late",
            "return": {}, "success": true
        });
        let data = json!({
            "jid": "7", "fun": "runner.jobs.list_jobs", "user": "root", "_stamp": "early",
            "return": {}, "success": true
        });
        let expected = json!({
            "id": "m_master", "tgt": "m_master", "jid": "7", "fun": "runner.jobs.list_jobs",
            "user": "root", "success": true, "return": data
        });
        assert_eq!(sort(&mut sorter, "salt/run/7/ret", &ended), Some((Kind::Return, expected, false)));
    }

    #[test]
    fn what_salt_left_out_is_marked() {
        let mut sorter = sorter(&[]);
        let mut trimmed = |value: Value| {
            let answer = json!({"jid": "1", "id": "a", "fun": "f", "return": value});
            let (_, text, trimmed) = sort(&mut sorter, "salt/job/1/ret/a", &answer).expect("a return");
            assert_eq!(text.get(MARK).is_some(), trimmed);
            trimmed
        };
        assert!(trimmed(json!("VALUE_TRIMMED")));
        assert!(trimmed(json!({"a": {"b": "VALUE_TRIMMED"}})));
        assert!(!trimmed(json!({"a": "a VALUE_TRIMMED"})));
        assert!(!trimmed(json!(["VALUE_TRIMMED"])));
    }

    #[test]
    fn what_is_no_message_is_an_error() {
        let mut sorter = sorter(&[]);
        assert!(matches!(sorter.sort(b"no end"), Err(BadMessage::NoTag)));
        assert!(matches!(sorter.sort(b"tag\n\n\x81"), Err(BadMessage::Data(_))));
    }
}
