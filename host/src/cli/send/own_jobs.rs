//! Returns of jobs that a minion gave itself, which have no job id yet (`req`).
//!
//! The host gives such a return an id, and makes a load of it. Sent again, it would get another
//! one and stand twice, so it gets its id here, once, and its load is sent before it: a host keeps
//! the first load of a job, and knows the return again.

use std::collections::HashSet;

use reqwest::StatusCode;
use serde::de::IgnoredAny;

use super::part::Part;
use crate::cli::client::{Client, NoAnswer};
use crate::intake::JobIds;
use crate::items::{self, Item, Kind};

/// The lines whose jobs were named here, and are the loads of their jobs, too.
#[derive(Default)]
pub(super) struct OwnJobs {
    ids: JobIds,
    lines: HashSet<usize>,
}

impl OwnJobs {
    /// The return of this line with a job id, if it has none of its own. What is no return is the
    /// host's to name.
    pub(super) fn name(&mut self, line: usize, item: &str) -> Option<String> {
        match items::parse(Kind::Return, item, || self.ids.next()) {
            Ok(Item::Return(named)) if named.assigned => {
                if named.as_load().is_some() {
                    self.lines.insert(line);
                }
                Some(named.full.to_string())
            }
            _ => None,
        }
    }

    /// Sends the loads of those in a part, to the same returners: one that stores none is no
    /// hindrance to the others.
    pub(super) async fn post_loads(
        &self,
        client: &Client,
        returners: Option<&str>,
        part: &Part,
    ) -> Result<(), NoAnswer> {
        let own = part.iter().filter(|(line, _)| self.lines.contains(line));
        let loads: Vec<&str> = own.map(|(_, item)| item.as_str()).collect();
        if loads.is_empty() {
            return Ok(());
        }
        let body = loads.join("\n");
        let queries = match returners {
            None => vec![Vec::new()],
            Some(names) => names.split(',').map(|name| vec![("returner", name.trim())]).collect(),
        };
        for query in queries {
            match client.post::<IgnoredAny>("/v1/loads", &query, body.clone().into_bytes()).await {
                Ok(_) => {}
                Err(NoAnswer::Refused(problem)) if problem.is_a_hosts(StatusCode::BAD_REQUEST) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_without_an_id_gets_one_and_any_other_stays() {
        let mut own_jobs = OwnJobs::default();
        let of = |jid: &str| format!(r#"{{"jid": "{jid}", "id": "web1", "fun": "test.ping", "return": 1}}"#);
        let [one, other] = [1, 2].map(|line| own_jobs.name(line, &of("req")).expect("it has none"));
        assert_ne!(one, other);
        for named in [one, other] {
            let item = items::parse(Kind::Return, &named, String::new).expect("a return");
            let Item::Return(item) = item else { panic!("{named}") };
            assert!(!item.assigned && item.jid.len() == 20, "{named}");
            assert_eq!(named, of(&item.jid));
        }
        assert_eq!(own_jobs.name(3, &of("20260214093012345678")), None);
        assert_eq!(own_jobs.name(4, "{"), None);
        assert_eq!(own_jobs.lines, HashSet::from([1, 2]));
    }
}
