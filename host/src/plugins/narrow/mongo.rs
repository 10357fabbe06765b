//! MongoDB: by action and collection.

use std::collections::BTreeMap;

use serde::de::IgnoredAny;

use super::{Refused, granted};
use crate::config::Actions;

/// Stages of an aggregation that reach other collections, or the server.
/// <https://www.mongodb.com/docs/manual/reference/operator/aggregation-pipeline/>
const STAGES: [&str; 16] = [
    "$match",
    "$project",
    "$group",
    "$sort",
    "$limit",
    "$skip",
    "$unwind",
    "$count",
    "$addFields",
    "$set",
    "$unset",
    "$replaceRoot",
    "$replaceWith",
    "$sample",
    "$bucket",
    "$sortByCount",
];

/// Whether a call of this action on the collection may go through. `pipeline` has the stages
/// of an aggregation as JSON text.
pub(super) fn allows(
    rules: &Actions,
    action: &'static str,
    collection: &str,
    pipeline: &[String],
) -> Result<(), Refused> {
    if !granted(rules, collection, action, collection.starts_with("system.")) {
        return Err(Refused(format!("`{action}` on the collection `{collection}`")));
    }
    for name in stages(pipeline)? {
        if !STAGES.contains(&name.as_str()) {
            return Err(Refused(format!("the stage `{name}`, which a narrowed connection does not have")));
        }
    }
    Ok(())
}

/// The names of a pipeline's stages. A stage has one; another one hidden behind it is refused
/// by the server.
fn stages(pipeline: &[String]) -> Result<Vec<String>, Refused> {
    let mut names = Vec::new();
    for stage in pipeline {
        let stage: BTreeMap<String, IgnoredAny> = serde_json::from_str(stage)
            .map_err(|error| Refused(format!("a stage of the pipeline that is no JSON object ({error})")))?;
        names.extend(stage.into_keys());
    }
    Ok(names)
}

/// Whether an aggregation writes what it has found into a collection.
pub(in crate::plugins) fn writes(pipeline: &[String]) -> bool {
    stages(pipeline)
        .map_or(true, |names| names.iter().any(|name| ["$out", "$merge"].contains(&name.as_str())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collection_is_reached_by_what_is_granted_on_it_only() {
        let rules = Actions::from([
            ("audit".to_owned(), ["insert".to_owned(), "aggregate".to_owned()].into()),
            ("*".to_owned(), ["find".to_owned()].into()),
        ]);
        let stages = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        assert!(allows(&rules, "insert", "audit", &[]).is_ok());
        assert!(allows(&rules, "find", "other", &[]).is_ok());
        assert!(allows(&rules, "find", "audit", &[]).is_err(), "the collection's own entry says all");
        assert!(allows(&rules, "insert", "other", &[]).is_err());
        assert!(allows(&rules, "find", "system.users", &[]).is_err());
        assert!(
            allows(&rules, "aggregate", "audit", &stages(&[r#"{"$match":{}}"#, r#"{"$limit":1}"#])).is_ok()
        );
        for stage in
            [r#"{"$lookup":{"from":"secrets"}}"#, r#"{"$out":"x"}"#, r#"{"$unionWith":"s"}"#, "[]", "{"]
        {
            assert!(allows(&rules, "aggregate", "audit", &stages(&[stage])).is_err(), "{stage}");
        }
        for (stage, wanted) in [
            (r#"{"$out":"x"}"#, true),
            (r#"{"$o\u0075t":"x"}"#, true),
            (r#"{ "$merge" : {"into":"x"}}"#, true),
            (r#"{"$match":{"a":"$out"}}"#, false),
            ("[]", true),
        ] {
            assert_eq!(writes(&stages(&[r#"{"$limit":1}"#, stage])), wanted, "{stage}");
        }
    }
}
