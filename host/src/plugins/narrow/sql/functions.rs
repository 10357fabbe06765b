//! Functions that a server has built in. Of a name that it has not it looks for a function that
//! somebody has stored, which may do anything: so each server has a list of its own.

use sqlparser::ast::{Function, ObjectNamePart};

use super::{Dialect, Refused, refused};

/// Functions of their arguments alone, or of the time or the transaction, that MySQL and MariaDB
/// both have.
const OF_MYSQL: &str = "\
    abs avg cast ceil ceiling char_length character_length coalesce concat concat_ws count curdate \
    current_date current_time current_timestamp database date date_add date_format date_sub datediff \
    floor from_unixtime greatest group_concat hex if ifnull instr json_array json_extract json_object \
    json_quote json_type json_unquote json_valid last_insert_id least left length locate lower max min \
    mod now nullif replace right round row_number substr substring substring_index sum time \
    timestampdiff trim unix_timestamp upper utc_timestamp values";

/// Of PostgreSQL, from version 13 on.
const OF_POSTGRES: &str = "\
    abs avg cast ceil ceiling char_length character_length coalesce concat concat_ws count \
    current_date current_time current_timestamp date floor greatest json_build_array \
    json_build_object json_object jsonb_array_length jsonb_build_array jsonb_build_object \
    jsonb_typeof least left length lower max min mod now nullif replace right round row_number \
    substr substring sum to_json to_jsonb trim upper";

/// Of SQLite, as it is in the host.
const OF_SQLITE: &str = "\
    abs avg cast changes coalesce concat concat_ws count current_date current_time \
    current_timestamp date datetime group_concat hex if ifnull instr json_array json_extract \
    json_object json_quote json_type json_valid julianday last_insert_rowid length lower max min \
    nullif replace round row_number strftime substr substring sum time total trim typeof upper";

/// Without OVER an old server has none of this name.
const WITH_OVER: [&str; 1] = ["row_number"];

/// Whether the server has a function of this name, in small letters, built in.
pub(super) fn is_known(dialect: Dialect, name: &str) -> bool {
    let known = match dialect {
        Dialect::Mysql => OF_MYSQL,
        Dialect::Postgres => OF_POSTGRES,
        Dialect::Sqlite => OF_SQLITE,
    };
    known.split(' ').any(|known| known == name)
}

/// Refuses a function that the server may not have itself.
pub(super) fn check(dialect: Dialect, function: &Function) -> Result<(), Refused> {
    let [ObjectNamePart::Identifier(name)] = function.name.0.as_slice() else {
        return Err(refused(&format!("the function `{}`", function.name)));
    };
    // MySQL looks for a stored one, and PostgreSQL for one in these letters.
    if name.quote_style.is_some() {
        return Err(refused(&format!("the function `{}` in quotes", name.value)));
    }
    let lower = name.value.to_ascii_lowercase();
    let is_whole = function.over.is_some() || !WITH_OVER.contains(&lower.as_str());
    if is_known(dialect, &lower) && is_whole {
        Ok(())
    } else {
        Err(refused(&format!("the function `{}`", name.value)))
    }
}
