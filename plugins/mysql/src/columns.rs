//! The columns that are really there, and how a text is fitted to one.
//!
//! An instance reads them once. They are read again before an item is refused for
//! them, so that an operator who widens a column, or makes one that was missing, sees it
//! work at once.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use returner_sdk::Failure;
use returner_sdk::sql;
use returner_sql::{CONNECTION, Column};

use crate::fit::{Charset, Misfit, Shape, Width};

/// For how long no item is refused for columns that have just been read.
const FRESH: Duration = Duration::from_secs(1);

const PLACES: [(&str, &str, Column); 10] = [
    ("jids", "jid", Column::LoadJid),
    ("jids", "load", Column::Load),
    ("salt_returns", "fun", Column::Fun),
    ("salt_returns", "jid", Column::Jid),
    ("salt_returns", "return", Column::Return),
    ("salt_returns", "id", Column::Id),
    ("salt_returns", "full_ret", Column::FullRet),
    ("salt_events", "tag", Column::Tag),
    ("salt_events", "data", Column::Data),
    ("salt_events", "master_id", Column::MasterId),
];

thread_local! {
    static COLUMNS: RefCell<Option<Columns>> = const { RefCell::new(None) };
}

/// The shapes of Salt's columns.
#[derive(Debug)]
pub(crate) struct Columns {
    shapes: RefCell<[Option<Shape>; PLACES.len()]>,
    read: Cell<Instant>,
}

impl Columns {
    /// Does something with the columns. They are read first, if they never were or if
    /// the last time ended with an error, which may be theirs.
    pub(crate) fn with<T>(work: impl FnOnce(&Self) -> Result<T, Failure>) -> Result<T, Failure> {
        let columns = match COLUMNS.take() {
            Some(columns) => columns,
            None => Self { shapes: RefCell::new(read()?), read: Cell::new(Instant::now()) },
        };
        let done = work(&columns);
        if done.is_ok() {
            COLUMNS.set(Some(columns));
        }
        done
    }

    /// Whether they take less than those of `schema.sql`, as those of Salt's manual do.
    pub(crate) fn are_salts(&self) -> bool {
        let shapes = self.shapes.borrow();
        let lacks_some = |shape: &Shape| shape.charset != Charset::Unicode;
        let cuts = |shape: Shape| matches!(shape.width, Width::Characters(width) if width < 255);
        shapes.iter().flatten().any(lacks_some) || shapes[Column::Fun as usize].is_some_and(cuts)
    }

    /// Whether `salt_returns.fun` may have other functions as the same text as this one.
    pub(crate) fn is_shared(&self, fun: &str) -> bool {
        self.shapes.borrow()[Column::Fun as usize].is_some_and(|shape| shape.is_shared(fun))
    }

    /// Whether the server has words of its own for what is written to this column.
    pub(crate) fn is_json(&self, column: Column) -> bool {
        self.shapes.borrow()[column as usize].is_some_and(|shape| shape.width == Width::Json)
    }

    /// Whether the column compares its texts by each of their characters, but for spaces at the end.
    pub(crate) fn is_exact(&self, column: Column) -> bool {
        self.shapes.borrow()[column as usize].is_none_or(|shape| shape.is_exact)
    }

    /// The text as the column takes it.
    pub(crate) fn fit(&self, column: Column, text: String) -> Result<String, Failure> {
        let (table, name, _) = PLACES[column as usize];
        let shape = self.shapes.borrow()[column as usize];
        let fitted = match shape {
            Some(shape) => shape.fit(column, text).map_err(|Misfit { text, reason }| {
                let reason = format!("column `{name}` of table `{table}` does not take it: {reason}");
                (text, Failure::reject(reason))
            }),
            None => {
                let message = format!(
                    "there is no column `{name}` in a table `{table}`; `returner schema mysql` prints the tables"
                );
                Err((text, Failure::retry(message)))
            }
        };
        match fitted {
            Ok(text) => Ok(text),
            Err((text, _)) if self.read.get().elapsed() > FRESH => {
                self.shapes.replace(read()?);
                self.read.set(Instant::now());
                self.fit(column, text)
            }
            Err((_, failure)) => Err(failure),
        }
    }
}

fn read() -> Result<[Option<Shape>; PLACES.len()], Failure> {
    let statement = "SELECT `table_name`, `column_name`, `data_type`, COALESCE(`character_set_name`, ''), \
                     COALESCE(`collation_name`, ''), CONCAT(COALESCE(`character_maximum_length`, '')) \
                     FROM `information_schema`.`columns` WHERE `table_schema` = DATABASE() \
                     AND `table_name` IN ('jids', 'salt_returns', 'salt_events')";
    let mut shapes = [None; PLACES.len()];
    for [table, column, kind, charset, collation, length] in
        sql::query(CONNECTION, statement, &[])?.into_texts()
    {
        let place = PLACES.iter().position(|(t, c, _)| *t == table && *c == column);
        if let Some(place) = place {
            shapes[place] = Some(shape(&kind, &charset, &collation, &length));
        }
    }
    Ok(shapes)
}

/// The shape of a column, from what `information_schema.columns` says of it. A
/// column of another type takes what the server takes.
fn shape(kind: &str, charset: &str, collation: &str, length: &str) -> Shape {
    let length = length.parse().unwrap_or(usize::MAX);
    let width = match kind {
        "json" => Width::Json,
        kind if kind.ends_with("char") => Width::Characters(length),
        _ => Width::Bytes(length),
    };
    let charset = match charset {
        "utf8mb4" | "" | "binary" => Charset::Unicode,
        "utf8" | "utf8mb3" => Charset::BasicPlane,
        _ => Charset::Ascii,
    };
    Shape { width, charset, is_exact: collation.is_empty() || collation.ends_with("bin") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_column_has_its_place() {
        for (place, (_, _, column)) in PLACES.iter().enumerate() {
            assert_eq!(*column as usize, place);
        }
    }

    #[test]
    fn a_column_is_known_by_its_description() {
        let old = shape("mediumtext", "utf8mb3", "utf8mb3_general_ci", "16777215");
        let expected =
            Shape { width: Width::Bytes(16_777_215), charset: Charset::BasicPlane, is_exact: false };
        assert_eq!(old, expected);
        let fun = shape("varchar", "latin1", "latin1_bin", "50");
        assert_eq!(fun, Shape { width: Width::Characters(50), charset: Charset::Ascii, is_exact: true });
        let json = shape("json", "", "", "");
        assert_eq!(json, Shape { width: Width::Json, charset: Charset::Unicode, is_exact: true });
    }
}
