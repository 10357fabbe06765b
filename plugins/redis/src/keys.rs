//! The names of keys and of the fields of a job's hash.

use std::borrow::Cow;

use returner_sdk::json;

/// The set of every minion that ever answered.
pub(crate) const MINIONS: &str = "minions";

/// The sorted set of the keys of all events.
pub(crate) const EVENTS: &str = "events";

/// What stands before a job id: its load, its returns, its later minions.
pub(crate) const LOAD: &str = "load:";
pub(crate) const RETURNS: &str = "ret:";
pub(crate) const JOB_MINIONS: &str = "minions:";

pub(crate) fn load(jid: &str) -> String {
    format!("{LOAD}{jid}")
}

pub(crate) fn returns(jid: &str) -> String {
    format!("{RETURNS}{jid}")
}

pub(crate) fn job_minions(jid: &str) -> String {
    format!("{JOB_MINIONS}{jid}")
}

pub(crate) fn last_job(minion: &str, fun: &str) -> String {
    format!("{minion}:{fun}")
}

pub(crate) fn event(key: &str) -> String {
    format!("event:{key}")
}

/// The field of a return: its minion and, if it is that of a resource, the resource.
/// Salt allows no slash in the id of a minion.
pub(crate) fn field<'a>(minion: &'a str, full: &str) -> Cow<'a, str> {
    match json::string_member(full, "resource_id") {
        Some(resource) if !resource.is_empty() => format!("{minion}/{resource}").into(),
        _ => minion.into(),
    }
}

/// The minion of a field.
pub(crate) fn minion_of(field: &str) -> &str {
    field.split('/').next().unwrap_or(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_has_a_field_of_its_own() {
        assert_eq!(field("web1", r#"{"id":"web1","return":true}"#), "web1");
        assert_eq!(field("web1", r#"{"id":"web1","resource_id":null}"#), "web1");
        let of_resource = field("web1", r#"{"resource_id":"disk/0","id":"web1"}"#);
        assert_eq!(of_resource, "web1/disk/0");
        assert_eq!(minion_of(&of_resource), "web1");
    }
}
