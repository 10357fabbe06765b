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
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::config::{SaltEventsSettings, Tags};
use crate::items::{Kind, NoMsgpack, from_msgpack, mark_trimmed};

/// The most values of a message: as many as there can be in one of Salt's `max_event_size`.
const MOST_VALUES: usize = 1 << 20;

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

/// What is made of messages, as the configuration has it.
pub(super) struct Rules {
    tags: Tags,
    /// Salt's name of the master, whose returns those of its runners are.
    master: String,
    /// How long a return that lacks something waits for the whole one.
    pub(super) trimmed_wait: Duration,
}

impl Rules {
    pub(super) fn new(settings: &SaltEventsSettings, master: &str) -> Self {
        let SaltEventsSettings { tags, trimmed_wait, .. } = settings;
        Self { tags: tags.clone(), master: master.to_owned(), trimmed_wait: *trimmed_wait }
    }
}

/// Makes items of messages.
#[derive(Default)]
pub(super) struct Sorter {
    begun: Runs,
}

impl Sorter {
    /// Nothing for a message that nobody wants.
    pub(super) fn sort(&mut self, rules: &Rules, body: &[u8]) -> Result<Option<Sorted>, BadMessage> {
        let end = body.windows(2).position(|pair| pair == b"\n\n").ok_or(BadMessage::NoTag)?;
        let tag = String::from_utf8_lossy(&body[..end]).into_owned();
        let mut data = match from_msgpack(&body[end + 2..], MOST_VALUES)? {
            Value::Object(data) => data,
            other => Map::from_iter([("data".to_owned(), other)]),
        };
        // A minion may fire an event of any tag: what it says so is an event, whatever it says.
        if data.get("cmd").is_some_and(|command| command == "_minion_event") {
            return Ok(rules.tags.let_through(&tag).then(|| item(Kind::Event, event(tag, data))));
        }
        if let Some(jid) = data.get("jid").filter(|jid| jid.is_number()).map(Value::to_string) {
            data.insert("jid".to_owned(), Value::String(jid));
        }
        let parts: Vec<&str> = tag.split('/').collect();
        Ok(match parts[..] {
            ["salt", "job", _, "new"] if has(&data, ["jid", "fun"]) => Some(load(data)),
            // The id of a minion may have slashes in it. It is the one that the tag has.
            ["salt", "job", _, "ret", ref id @ ..] if is_return(&data, &id.join("/")) => Some(returned(data)),
            ["salt", "run", _, "ret"] if has(&data, ["jid", "fun", "return"]) => {
                Some(self.run(&rules.master, data))
            }
            // Salt's older tags: the same message comes under its present one, too.
            ["new_job"] if has(&data, ["jid", "fun"]) => None,
            [jid]
                if is_return(&data, text_of(&data, "id"))
                    && data.get("jid").and_then(Value::as_str) == Some(jid) =>
            {
                None
            }
            _ => {
                if let ["salt", "run", _, "new"] = parts[..] {
                    self.begun.note(&data);
                }
                rules.tags.let_through(&tag).then(|| item(Kind::Event, event(tag, data)))
            }
        })
    }

    /// A runner's return, as `salt.client.mixins` gives it to the master's job cache: the
    /// whole of its data is what the master returned, with the moment at which it began.
    fn run(&mut self, master: &str, mut data: Map<String, Value>) -> Sorted {
        if let Some(stamp) = self.begun.take(&data) {
            data.insert("_stamp".to_owned(), stamp);
        }
        let mut answer = Map::new();
        answer.insert("id".to_owned(), json!(master));
        answer.insert("tgt".to_owned(), json!(master));
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

/// Salt may not know yet which minions a job is for.
fn load(mut data: Map<String, Value>) -> Sorted {
    let are_names = |value: &Value| value.as_array().is_some_and(|names| names.iter().all(Value::is_string));
    for key in ["minions", "Minions"] {
        if data.get(key).is_some_and(|value| !are_names(value)) {
            data.remove(key);
        }
    }
    item(Kind::Load, data)
}

fn event(tag: String, data: Map<String, Value>) -> Map<String, Value> {
    Map::from_iter([("tag".to_owned(), Value::String(tag)), ("data".to_owned(), Value::Object(data))])
}

fn returned(mut data: Map<String, Value>) -> Sorted {
    data.remove("ret_config");
    data.remove("ret_kwargs");
    let trimmed = mark_trimmed(&mut data);
    Sorted { trimmed, ..item(Kind::Return, data) }
}

/// Whether it has all of these.
fn has<const N: usize>(data: &Map<String, Value>, keys: [&str; N]) -> bool {
    keys.into_iter().all(|key| data.contains_key(key))
}

fn is_return(data: &Map<String, Value>, id: &str) -> bool {
    has(data, ["jid", "fun", "return"]) && data.get("id").is_some_and(|value| value == id)
}

fn text_of<'d>(data: &'d Map<String, Value>, key: &str) -> &'d str {
    data.get(key).and_then(Value::as_str).unwrap_or_default()
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

    /// A sorter and its rules.
    struct Desk(Sorter, Rules);

    fn sort(Desk(sorter, rules): &mut Desk, tag: &str, data: &Value) -> Option<(Kind, Value, bool)> {
        let sorted = sorter.sort(rules, &message(tag, data)).expect("a message")?;
        Some((sorted.kind, serde_json::from_str(&sorted.text).expect("JSON"), sorted.trimmed))
    }

    fn sorter(tags: &[&str]) -> Desk {
        let rules =
            Rules { tags: Tags::of(tags), master: "m_master".to_owned(), trimmed_wait: Duration::ZERO };
        Desk(Sorter::default(), rules)
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

    /// It may fire any tag that it likes; Salt says that it did.
    #[test]
    fn a_minion_cannot_answer_for_another() {
        let mut desk = sorter(&[]);
        let forged = json!({
            "cmd": "_minion_event", "id": "evil", "jid": "1", "fun": "runner.x", "return": 1, "tag": "salt/run/1/ret"
        });
        assert_eq!(sort(&mut desk, "salt/run/1/ret", &forged).map(|sorted| sorted.0), Some(Kind::Event));
        let other = json!({"id": "evil", "jid": "1", "fun": "test.ping", "return": true});
        assert_eq!(sort(&mut desk, "salt/job/1/ret/good", &other).map(|sorted| sorted.0), Some(Kind::Event));
    }

    #[test]
    fn what_salt_leaves_open_is_taken() {
        let mut desk = sorter(&[]);
        let load = json!({"jid": 7, "fun": "test.ping", "minions": null});
        let taken = json!({"jid": "7", "fun": "test.ping"});
        assert_eq!(sort(&mut desk, "salt/job/7/new", &load), Some((Kind::Load, taken, false)));
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
            assert_eq!(text.get("value_trimmed").is_some(), trimmed);
            trimmed
        };
        assert!(trimmed(json!("VALUE_TRIMMED")));
        assert!(trimmed(json!({"a": {"b": "VALUE_TRIMMED"}})));
        assert!(!trimmed(json!({"a": "a VALUE_TRIMMED"})));
        assert!(!trimmed(json!(["VALUE_TRIMMED"])));
    }

    #[test]
    fn what_is_no_message_is_an_error() {
        let Desk(mut sorter, rules) = sorter(&[]);
        assert!(matches!(sorter.sort(&rules, b"no end"), Err(BadMessage::NoTag)));
        assert!(matches!(sorter.sort(&rules, b"tag\n\n\x81"), Err(BadMessage::Data(_))));
    }
}
