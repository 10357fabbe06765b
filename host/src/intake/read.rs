//! A body's bytes into items: all of them, or what is wrong with each.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::job_ids::JobIds;
use super::{BadItem, MOST_ITEMS, MOST_MINIONS, MOST_NAMED, Refused};
use crate::items::{self, Item, Kind};

/// The items of a request, read.
pub(super) struct Read {
    pub(super) items: Vec<Item>,
    /// Of returns with a job id of the host's, by their place: each as the load of its job.
    pub(super) loads: HashMap<usize, items::Load>,
    pub(super) assigned: Vec<(usize, Arc<str>)>,
    /// The places of returns that Salt's master left something out of.
    pub(super) trimmed: HashSet<usize>,
}

fn text(body: &[u8]) -> Result<&str, Refused> {
    std::str::from_utf8(body)
        .map_err(|error| Refused::Malformed(format!("it is not UTF-8 at byte {}", error.valid_up_to())))
}

/// Cuts a body into its items, and says which of them cannot be read.
fn split(body: &[u8]) -> Result<Vec<Result<&str, String>>, Refused> {
    let not_json = |malformed: items::Malformed| format!("it is not JSON: {malformed}");
    let texts = items::split(text(body)?, MOST_ITEMS);
    let texts = texts.map_err(|malformed| Refused::Malformed(not_json(malformed)))?;
    match texts.len() {
        0 => Err(Refused::Empty),
        1..=MOST_ITEMS => Ok(texts.into_iter().map(|text| text.map_err(not_json)).collect()),
        _ => Err(Refused::TooMany),
    }
}

pub(super) fn read_minions(jid: &str, body: &[u8]) -> Result<Read, Refused> {
    let texts = split(body)?;
    let mut minions = Vec::new();
    let mut bad = Bad::of(texts.len());
    for (index, text) in texts.into_iter().enumerate() {
        match text.and_then(|text| items::minion_ids(text).map_err(|invalid| invalid.0)) {
            Ok(more) => minions.extend(more),
            Err(reason) => bad.add(index, reason),
        }
        if minions.len() > MOST_MINIONS {
            return Err(Refused::TooManyMinions);
        }
    }
    bad.refuse()?;
    if minions.is_empty() {
        return Err(Refused::Empty);
    }
    let invalid = |invalid: items::Invalid| Refused::Malformed(invalid.0);
    let item = items::parse_minions(jid, &minions).map_err(invalid)?;
    Ok(Read { items: vec![item], loads: HashMap::new(), assigned: Vec::new(), trimmed: HashSet::new() })
}

pub(super) fn read(kind: Kind, body: &[u8], job_ids: &JobIds) -> Result<Read, Refused> {
    let texts = split(body)?;
    let mut items = Vec::with_capacity(texts.len());
    let mut bad = Bad::of(texts.len());
    let (mut assigned, mut loads, mut trimmed) = (Vec::new(), HashMap::new(), HashSet::new());
    for (index, text) in texts.into_iter().enumerate() {
        let parsed =
            text.and_then(|text| items::parse(kind, text, || job_ids.next()).map_err(|invalid| invalid.0));
        match parsed {
            Ok(Item::Return(answer)) => {
                let marked = items::marked(&answer);
                trimmed.extend(marked.is_some().then_some(index));
                let answer = marked.unwrap_or(answer);
                if answer.assigned {
                    assigned.push((index, Arc::clone(&answer.jid)));
                    loads.extend(answer.as_load().map(|load| (index, load)));
                }
                items.push(Item::Return(answer));
            }
            Ok(item) => items.push(item),
            Err(reason) => bad.add(index, reason),
        }
    }
    bad.refuse()?;
    Ok(Read { items, loads, assigned, trimmed })
}

/// The items of a request that cannot be taken.
pub(super) struct Bad {
    /// The first of them.
    items: Vec<BadItem>,
    count: usize,
    of: usize,
}

impl Bad {
    pub(super) fn of(items: usize) -> Self {
        Self { items: Vec::new(), count: 0, of: items }
    }

    pub(super) fn add(&mut self, index: usize, reason: String) {
        self.count += 1;
        if self.items.len() < MOST_NAMED {
            self.items.push(BadItem { index, reason });
        }
    }

    pub(super) fn refuse(self) -> Result<(), Refused> {
        match self.count {
            0 => Ok(()),
            bad => Err(Refused::Items { items: self.items, bad, of: self.of }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minions(body: &str) -> Result<Read, Refused> {
        read_minions("1", body.as_bytes())
    }

    #[test]
    fn a_request_has_a_bounded_number_of_minions() {
        let list = |count: usize| format!(r#"{{"minions":[{}"a"]}}"#, r#""a","#.repeat(count - 1));
        assert_eq!(minions(&list(MOST_MINIONS)).map(|read| read.items.len()).ok(), Some(1));
        let refused = minions(&list(MOST_MINIONS + 1)).err().expect("too many");
        assert_eq!(refused.to_string(), "there are more than 100000 minions in it");
        // Also where they are spread over its items.
        let lists = format!("[{0},{0}]", list(MOST_MINIONS / 2 + 1));
        assert!(matches!(minions(&lists), Err(Refused::TooManyMinions)));
    }

    #[test]
    fn a_return_of_the_hosts_own_job_is_read_as_a_load_with_it() {
        let body = r#"[{"jid":"req","id":"a","fun":"f","return":1},{"jid":"1","id":"a","fun":"f"}]"#;
        let read = read(Kind::Return, body.as_bytes(), &JobIds::default()).expect("good items");
        assert_eq!(read.loads.keys().collect::<Vec<_>>(), [&0]);
        assert_eq!(read.loads[&0].jid, read.assigned[0].1);
    }
}
