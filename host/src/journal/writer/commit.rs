//! One transaction: what comes in, a share of what is settled, and what can go.

use std::sync::Arc;
use std::time::Instant;

use rusqlite::TransactionBehavior;

use super::settlements::Waiting;
use super::{Appends, Writer};
use crate::journal::book::{self, Targets};
use crate::journal::seen::Fresh;
use crate::journal::{Appended, Entry, now};

/// How many places are trimmed at once while items come in: removing a few each time would
/// write as many pages as taking them in does. All of it is trimmed when nothing comes.
const TRIM: u64 = 1024;

/// Who has nothing to do and is no further behind than this still follows what comes in.
const FOLLOWS: u64 = 4096;

impl Writer {
    /// One transaction; gives an answer for each call.
    pub(super) fn commit(&mut self, appends: &mut Appends) -> rusqlite::Result<Vec<Appended>> {
        let now = now();
        let book = &mut self.book;
        // A host that rested has keys that are too old to make anything a copy.
        book.seen.forget(now);
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut targets = Targets { transaction: &transaction, known: &mut book.targets };
        let mut fresh = Fresh::default();
        let mut entries = Vec::new();
        let mut answers = Vec::with_capacity(appends.len());
        for (items, _) in appends.iter_mut() {
            let mut answer =
                Appended { first: book.last + 1, through: book.last, duplicates: 0, repeated: Vec::new() };
            for item in items.drain(..) {
                let lanes = match item.dedupe {
                    Some(key) => book.seen.remaining(&mut fresh, &mut targets, key, &item.lanes)?,
                    None => Some(Arc::clone(&item.lanes)),
                };
                // Some of the lanes had it, or all.
                if lanes.as_ref().is_none_or(|lanes| lanes.len() < item.lanes.len()) {
                    answer.repeated.extend(item.dedupe);
                }
                let Some(lanes) = lanes else {
                    answer.duplicates += 1;
                    continue;
                };
                book.last += 1;
                let entry = Entry { seq: book.last, accepted: item.accepted, item: item.item, lanes };
                book::insert(&mut targets, &entry)?;
                entries.push(Arc::new(entry));
            }
            answer.through = book.last;
            answers.push(answer);
        }
        for lane in entries.iter().flat_map(|entry| entry.lanes.iter()) {
            if let Some(lane) = book.lanes.get_mut(lane) {
                lane.add_pending(1);
            }
        }
        let share = self.settlements.share();
        for Waiting { lane, number, settlement, .. } in self.settlements.waiting.iter().take(share) {
            book::settle(&transaction, &mut book.lanes, *lane, *number, settlement)?;
        }
        for (id, lane) in &mut book.lanes {
            lane.write(&transaction, *id)?;
        }
        let seen = book.seen.write(&transaction, &fresh, now, book.last)?;
        let places = if entries.is_empty() { 1 } else { TRIM };
        let untrimmed = book::trim(&transaction, &book.lanes, &mut book.targets, places)?;
        let begun = Instant::now();
        transaction.commit()?;
        // Nobody would find it after a restart.
        if self.files.lost(&self.path).is_some() {
            return Err(rusqlite::Error::InvalidPath(self.path.clone()));
        }
        // The last that can fail: what is refused must not count as acknowledged.
        book.measure(&self.connection)?;
        if !entries.is_empty() || share > 0 {
            self.shared.metrics.committed(begun.elapsed(), entries.len());
        }

        self.untrimmed = untrimmed;
        book.seen.committed(seen, fresh, now);
        self.settlements.written(share);
        self.show(entries);
        Ok(answers)
    }

    /// What is on disk now becomes visible to lanes.
    fn show(&mut self, entries: Vec<Arc<Entry>>) {
        self.show_depths();
        if !entries.is_empty()
            && let Err(error) = self.mark.set(self.book.last)
        {
            tracing::debug!(%error, "the place of what is acknowledged was not marked");
        }
        self.shared.tail.push(entries.into_iter());
        let through = self.book.last;
        // The cursor of a lane that has ended, and has nothing to do, stands still for ever.
        let follows = |lane: &&book::Lane| lane.pending > 0 || lane.cursor + FOLLOWS >= through;
        let busy = self.book.lanes.values().filter(follows);
        self.shared.tail.trim(busy.map(|lane| lane.cursor).min().unwrap_or(through));
        self.head.send_if_modified(|head| std::mem::replace(head, through) != through);
    }
}
