//! Words that MySQL, PostgreSQL or SQLite do not take as a table's name.

/// Those that somebody might call a returner, in alphabetical order.
const WORDS: &str = "\
    accessible add all alter analyse analyze and any array as asc asensitive asymmetric authorization autoincrement \
    before begin between bigint binary blob both by call cascade case cast change char character check collate \
    collation column commit concurrently condition constraint continue convert create cross cube cume_dist \
    current_catalog current_date current_role current_schema current_time current_timestamp current_user cursor \
    database databases dec decimal declare default deferrable delayed delete dense_rank desc describe deterministic \
    distinct distinctrow div do double drop dual each else elseif empty enclosed end escape escaped except exists exit \
    explain false fetch first_value float for force foreign freeze from full fulltext function generated get glob \
    grant group grouping groups having if ignore ilike in index infile initially inner inout insensitive insert int \
    integer intersect interval into is isnull iterate join json_table key keys kill lag last_value lateral lead \
    leading leave left library like limit linear lines load localtime localtimestamp lock long loop manual match \
    maxvalue mod modifies natural new not nothing notnull nth_value ntile null numeric of off offset old on only \
    optimize option optionally or order out outer outfile over overlaps parallel partition percent_rank placing \
    precision primary procedure purge qualify range rank read reads real recursive references regexp release rename \
    repeat replace require resignal restrict return returning revoke right rlike role rollback row row_number rows \
    schema schemas select sensitive separator session_user set show signal similar smallint some spatial specific sql \
    ssl starting stored straight_join symmetric system system_user table tablesample tablespace terminated then to \
    trailing transaction trigger true undo union unique unlock unsigned update usage use user using values varchar \
    variadic varying verbose view virtual when where while window with write xor zerofill";

/// Whether a table cannot be called this without quotes, which are not the same everywhere.
pub(crate) fn is_reserved(word: &str) -> bool {
    word.starts_with("sqlite_")
        || word.starts_with("pg_")
        || WORDS.split(' ').any(|reserved| reserved == word)
}
