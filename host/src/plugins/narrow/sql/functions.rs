//! Functions that a server has built in. Of a name that it has not it looks for a function that
//! somebody has stored, which may do anything: so each server has a list of its own.

use sqlparser::ast::{Function, ObjectNamePart};

use super::{Dialect, Refused, refused};

/// Functions of their arguments alone, or of the time or the transaction, that MySQL and MariaDB
/// both have.
const OF_MYSQL: &str = "\
    abs ascii avg bin bit_count cast ceil ceiling char_length character_length coalesce concat \
    concat_ws conv count crc32 curdate current_date current_time current_timestamp database date \
    date_add date_format date_sub datediff day dayname dayofmonth dayofweek dayofyear elt field \
    find_in_set floor from_days from_unixtime greatest group_concat hex hour if ifnull inet_aton \
    inet_ntoa instr json_array json_contains json_contains_path json_extract json_insert json_keys \
    json_length json_merge_patch json_object json_quote json_remove json_replace json_search \
    json_set json_type json_unquote json_valid last_day last_insert_id lcase least left length \
    locate lower ltrim makedate max md5 min minute mod month monthname now nullif oct ord pow power \
    quarter rand replace reverse right round row_number rtrim sec_to_time second sha1 sha2 sign sqrt \
    str_to_date strcmp substr substring substring_index sum time time_to_sec timestampdiff to_days \
    trim truncate ucase unhex unix_timestamp upper utc_timestamp uuid values weekday year";

/// Of PostgreSQL, from version 13 on.
const OF_POSTGRES: &str = "\
    abs avg cast ceil ceiling char_length character_length coalesce concat concat_ws count \
    current_date current_time current_timestamp date floor greatest json_build_array \
    json_build_object json_object jsonb_array_length jsonb_build_array jsonb_build_object \
    jsonb_typeof least left length lower max min mod now nullif replace right round row_number \
    substr substring sum to_json to_jsonb trim upper";

/// Of SQLite, as it is in the host.
const OF_SQLITE: &str = "\
    abs avg cast changes char coalesce concat concat_ws count current_date current_time \
    current_timestamp date datetime group_concat hex if ifnull iif instr json json_array \
    json_array_length json_extract json_group_array json_group_object json_insert json_object \
    json_patch json_quote json_remove json_replace json_set json_type json_valid julianday \
    last_insert_rowid length lower ltrim max min nullif octet_length quote random replace round \
    row_number rtrim sign strftime substr substring sum time total trim typeof unicode \
    unixepoch upper";

/// Without OVER an old server has none of this name.
const WITH_OVER: [&str; 1] = ["row_number"];

/// Whether the server has a function of this name, in small letters, built in.
pub(super) fn is_known(dialect: Dialect, name: &str) -> bool {
    names(dialect).split(' ').any(|known| known == name)
}

/// Their names, in small letters and in order, with spaces between.
pub(super) fn names(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Mysql => OF_MYSQL,
        Dialect::Postgres => OF_POSTGRES,
        Dialect::Sqlite => OF_SQLITE,
    }
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
    if is_known(dialect, &lower) && is_whole { Ok(()) } else { Err(unknown(&name.value)) }
}

/// A name that is quoted is none of a function's.
pub(super) fn unknown(name: &str) -> Refused {
    refused(&format!("the function `{name}`"))
}

#[cfg(test)]
#[path = "functions_tests.rs"]
mod tests;
