//! The items of a database in which nothing leads to them any more.
//!
//! Each item stands in a leaf of its table's tree. Where a page above the leaves is damaged, SQLite
//! finds none of those below it; so all pages are looked at
//! (<https://www.sqlite.org/fileformat2.html#b_tree_pages>).
//!
//! # Invariants
//! - An item counts only if its checksum fits.
//! - Nothing that stands there is trusted: a length, a place or a chain of pages that cannot be ends
//!   the look at that item.
//! - A page that was given back may have items of before. Lanes have settled them, so whoever takes
//!   them has to ask who wants one.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::content::Item;
use crate::journal::book;

/// Of the host's databases.
const PAGE: usize = 4096;

/// What begins a leaf of a table, and the bytes before its cells' places.
const LEAF: u8 = 13;
const LEAF_HEADER: usize = 8;

/// The most of a cell that stands in its leaf, and what stands there at least of a longer one.
const LOCAL: usize = PAGE - 35;
const LEAST: usize = (PAGE - 12) * 32 / 255 - 23;

/// Hands over the items of all leaves of a file, in no order, some perhaps twice.
pub(super) fn scan<E>(path: &Path, take: &mut impl FnMut(Item) -> Result<(), E>) -> Result<(), E>
where
    E: From<io::Error>,
{
    let file = File::open(path)?;
    let pages = file.metadata()?.len() / PAGE as u64;
    let mut page = vec![0; PAGE];
    // The first one is the schema's.
    for number in 2..=pages {
        if read_page(&file, number, &mut page).is_none() || page[0] != LEAF {
            continue;
        }
        let cells = usize::from(u16::from_be_bytes([page[3], page[4]]));
        for cell in 0..cells {
            let at = LEAF_HEADER + 2 * cell;
            let Some(place) = page.get(at..at + 2) else { break };
            let place = usize::from(u16::from_be_bytes([place[0], place[1]]));
            if let Some(item) = page.get(place..).and_then(|cell| item(cell, &file, pages)) {
                take(item)?;
            }
        }
    }
    Ok(())
}

/// Pages are numbered from 1.
fn read_page(file: &File, number: u64, page: &mut [u8]) -> Option<()> {
    file.read_exact_at(page, number.checked_sub(1)? * PAGE as u64).ok()
}

/// The item of a cell.
fn item(mut cell: &[u8], file: &File, pages: u64) -> Option<Item> {
    let length = usize::try_from(varint(&mut cell)?).ok()?;
    let seq = varint(&mut cell)?;
    if length as u64 > pages * PAGE as u64 {
        return None;
    }
    let record = payload(cell, length, file, pages)?;
    let mut header = record.as_slice();
    let size = usize::try_from(varint(&mut header)?).ok()?;
    let mut kinds = record.get(record.len() - header.len()..size)?;
    let mut values = record.get(size..)?;
    // The place is the number of the row, and NULL in its record.
    if varint(&mut kinds)? != 0 {
        return None;
    }
    let [kind, accepted, target] =
        [(); 3].map(|()| varint(&mut kinds).and_then(|of| integer(of, &mut values)));
    let body = varint(&mut kinds)?.checked_sub(13).filter(|length| length % 2 == 0)? / 2;
    let body = taken(&mut values, usize::try_from(body).ok()?)?;
    let body = String::from_utf8(body.to_vec()).ok()?;
    let sum = varint(&mut kinds).and_then(|of| integer(of, &mut values))?;
    let item = Item { seq, kind: kind?, accepted: accepted?.cast_unsigned(), target: target?, body };
    let Item { seq, kind, accepted, target, ref body } = item;
    (i64::from(book::item_sum(seq, kind, accepted, target, body)) == sum).then_some(item)
}

/// What a cell carries: in its leaf, and in the pages behind it of a long one.
fn payload(cell: &[u8], length: usize, file: &File, pages: u64) -> Option<Vec<u8>> {
    if length <= LOCAL {
        return cell.get(..length).map(<[u8]>::to_vec);
    }
    let all = LEAST + (length - LEAST) % (PAGE - 4);
    let here = if all <= LOCAL { all } else { LEAST };
    let mut payload = cell.get(..here)?.to_vec();
    let mut next = cell.get(here..here + 4)?.try_into().map(u32::from_be_bytes).ok()?;
    let mut page = vec![0; PAGE];
    let mut read = 0;
    while payload.len() < length {
        read += 1;
        if next == 0 || read > pages {
            return None;
        }
        read_page(file, next.into(), &mut page)?;
        next = page[..4].try_into().map(u32::from_be_bytes).ok()?;
        payload.extend_from_slice(&page[4..PAGE.min(4 + length - payload.len())]);
    }
    Some(payload)
}

/// SQLite's integers of one to nine bytes, seven bits each but for the ninth.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for place in 0..9 {
        let byte = *taken(bytes, 1)?.first()?;
        if place == 8 {
            return Some(value << 8 | u64::from(byte));
        }
        value = value << 7 | u64::from(byte & 0x7F);
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// An integer of a record, by its kind.
fn integer(kind: u64, values: &mut &[u8]) -> Option<i64> {
    let length = match kind {
        1..=4 => kind as usize,
        5 => 6,
        6 => 8,
        8 => return Some(0),
        9 => return Some(1),
        _ => return None,
    };
    let bytes = taken(values, length)?;
    let negative = bytes[0] >= 0x80;
    let mut whole = [if negative { 0xFF } else { 0 }; 8];
    whole[8 - length..].copy_from_slice(bytes);
    Some(i64::from_be_bytes(whole))
}

fn taken<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use rusqlite::{Connection, params};

    use super::*;
    use crate::journal::schema;

    /// All that SQLite reads in the tree of its own is found without it.
    #[test]
    fn every_item_is_found() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("journal.db");
        let database = schema::open(&path).expect("a new journal");
        let mut expected = std::collections::BTreeMap::new();
        for seq in 1..=400_u64 {
            // In its leaf, over its end, and over many pages; negative numbers and those of each length.
            let body = "ä".repeat([0, 1, 500, 2010, 2020, 2030, 2040, 6000, 100_000][seq as usize % 9]);
            let (kind, accepted) = ((seq % 4) as i64, 1_u64 << (seq % 62));
            let target = if seq % 7 == 0 { -(1 << (seq % 50)) } else { (seq % 3) as i64 };
            let sum = book::item_sum(seq, kind, accepted, target, &body);
            database
                .execute(
                    "INSERT INTO items VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                    params![seq, kind, accepted, target, body, sum],
                )
                .expect("it has room");
            expected.insert(seq, (kind, accepted, target, body));
        }
        // One whose sum does not fit.
        database.execute("UPDATE items SET accepted = accepted + 1 WHERE seq = 9", []).expect("it is there");
        expected.remove(&9);
        schema::fold(&database).expect("it has room");
        drop::<Connection>(database);
        let mut found = std::collections::BTreeMap::new();
        let mut take = |Item { seq, kind, accepted, target, body }| {
            found.insert(seq, (kind, accepted, target, body));
            Ok::<_, io::Error>(())
        };
        scan(&path, &mut take).expect("it can be read");
        assert_eq!(found.len(), expected.len());
        assert!(found == expected);
    }
}
