//! What stands in a store, as places with values, and the comparison of two.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::cases::Case;

/// A difference between Salt's and the host's, and why it is right.
pub(super) struct Difference {
    /// `case/field`, or a case with all of its fields.
    pub(super) place: &'static str,
    /// The known fault of Salt's module that it mends, or why it loses nothing.
    pub(super) mends: &'static str,
}

/// Values by place. A place is `case/field`: job ids differ from run to run.
#[derive(Debug, Default)]
pub(super) struct Contents(BTreeMap<String, Value>);

impl Contents {
    pub(super) fn put(&mut self, case: &str, field: &str, value: Value) {
        let place = format!("{case}/{field}");
        let before = self.0.insert(place.clone(), value);
        assert!(before.is_none(), "{place} is there twice");
    }

    /// A column or value that holds JSON is compared as JSON: white space and escapes do
    /// not count.
    pub(super) fn put_json(&mut self, case: &str, field: &str, text: &str) {
        let value =
            serde_json::from_str(text).unwrap_or_else(|error| panic!("{case}/{field} ({error}): {text}"));
        self.put(case, field, value);
    }

    fn places(&self) -> BTreeSet<&String> {
        self.0.keys().collect()
    }
}

/// The name of the case with this job id; the job id if there is none.
pub(super) fn name_of<'a>(cases: &'a [Case], jid: &'a str) -> &'a str {
    cases.iter().find(|case| case.jid() == jid).map_or(jid, |case| case.name)
}

/// Claims that two stores have the same, but for these differences, and that they do have
/// each of these.
#[track_caller]
pub(super) fn compare(ours: &Contents, salts: &Contents, accepted: &[Difference]) {
    assert!(!ours.0.is_empty(), "there is something to compare");
    let mut unused: BTreeSet<&str> = accepted.iter().map(|difference| difference.place).collect();
    let mut wrong = Vec::new();
    for place in ours.places().union(&salts.places()) {
        let (our, salt) = (ours.0.get(*place), salts.0.get(*place));
        if our == salt {
            continue;
        }
        let case = place.split('/').next().unwrap_or_default();
        let known = accepted.iter().find(|known| known.place == *place || known.place == case);
        match known {
            Some(known) => {
                unused.remove(known.place);
            }
            None => wrong.push(format!("{place}\n  ours:   {}\n  Salt's: {}", shown(our), shown(salt))),
        }
    }
    assert!(wrong.is_empty(), "differences that mend nothing:\n{}", wrong.join("\n"));
    let unused: Vec<String> = accepted
        .iter()
        .filter(|known| unused.contains(known.place))
        .map(|known| format!("{} ({})", known.place, known.mends))
        .collect();
    assert!(unused.is_empty(), "differences that are none any more: {}", unused.join(", "));
}

fn shown(value: Option<&Value>) -> String {
    value.map_or_else(|| "nothing".to_owned(), Value::to_string)
}
