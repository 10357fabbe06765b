//! The keys that were seen, for as much of them as is still true.
//!
//! A key says that a lane has got its item. Of a lane that has lost items nobody knows which: its
//! keys are left out, so that what is sent again is stored, rather twice than not at all.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, params};

use crate::items::Key;
use crate::journal::Seq;
use crate::journal::seen;
use crate::journal::sum::Sum;

/// The commits that can be read.
pub(super) struct Keys {
    commits: Vec<Commit>,
    /// Some could not.
    lost: bool,
}

struct Commit {
    id: i64,
    at: u64,
    keys: Vec<(Key, u32)>,
}

impl Keys {
    pub(super) fn read(damaged: &Connection) -> Self {
        let mut keys = Self { commits: Vec::new(), lost: false };
        let mut read = || -> rusqlite::Result<()> {
            let mut statement = damaged.prepare("SELECT at, keys, sum, id FROM seen ORDER BY id")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                if Sum::fits(row, 2)? {
                    let records = seen::records(row.get_ref(1)?.as_blob()?).collect();
                    keys.commits.push(Commit { id: row.get(3)?, at: row.get(0)?, keys: records });
                } else {
                    keys.lost = true;
                }
            }
            Ok(())
        };
        keys.lost |= read().is_err();
        keys
    }

    /// Writes those of lanes that have `lost` nothing, of commits up to a place; sets of lanes that
    /// come of it are added to `targets`. Says what is missing.
    pub(super) fn write(
        self,
        new: &Connection,
        targets: &mut BTreeMap<i64, Vec<i64>>,
        lost: &BTreeSet<i64>,
        reached: Seq,
    ) -> rusqlite::Result<Option<String>> {
        let mut left_out = self.lost;
        let mut sets = BTreeMap::new();
        for Commit { id, at, keys } in self.commits {
            if id > reached.cast_signed() {
                left_out = true;
                continue;
            }
            let mut records = Vec::new();
            for (key, target) in keys {
                let set = *sets.entry(target).or_insert_with(|| without(targets, target.into(), lost));
                left_out |= set != Some(i64::from(target));
                if let Some(set) = set {
                    records.push((key, set as u32));
                }
            }
            let records = seen::blob(records);
            let sum = seen::sum(at, &records);
            new.execute(
                "INSERT INTO seen (id, at, keys, sum) VALUES (?1, ?2, ?3, ?4)",
                params![id, at, records, sum],
            )?;
        }
        let said = "which copies of returns came before is not known of all: one that is sent again may be stored twice";
        Ok(left_out.then(|| said.to_owned()))
    }
}

/// The number of the set without the lanes that have lost something; none where nobody is left.
fn without(targets: &mut BTreeMap<i64, Vec<i64>>, target: i64, lost: &BTreeSet<i64>) -> Option<i64> {
    let members = targets.get(&target)?;
    let rest: Vec<i64> = members.iter().copied().filter(|lane| !lost.contains(lane)).collect();
    if rest.is_empty() {
        return None;
    }
    let known = targets.iter().find(|(_, members)| **members == rest).map(|(id, _)| *id);
    Some(known.unwrap_or_else(|| {
        let id = targets.keys().max().map_or(1, |most| most + 1);
        targets.insert(id, rest);
        id
    }))
}
