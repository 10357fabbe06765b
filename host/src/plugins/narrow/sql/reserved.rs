//! The words that servers reserve: one of them is a name only in quotes, or it is none. In order.

use super::Dialect;

/// Those of MySQL 8.4 (<https://dev.mysql.com/doc/refman/8.4/en/keywords.html>, marked "(R)") and of
/// MariaDB (<https://mariadb.com/kb/en/reserved-words/>, as 10.11 has them): nobody knows which of
/// the two it is.
const OF_MYSQL: &str = "\
    accessible add all alter analyze and as asc asensitive before between bigint binary blob both by call \
    cascade case change char character check collate column condition constraint continue convert create cross \
    cube cume_dist current_date current_role current_time current_timestamp current_user cursor database \
    databases day_hour day_microsecond day_minute day_second dec decimal declare default delayed delete \
    delete_domain_id dense_rank desc describe deterministic distinct distinctrow div do_domain_ids double drop \
    dual each else elseif empty enclosed escaped except exists exit explain false fetch first_value float float4 \
    float8 for force foreign from fulltext function generated get grant group grouping groups having \
    high_priority hour_microsecond hour_minute hour_second if ignore ignore_domain_ids in index infile inner \
    inout insensitive insert int int1 int2 int3 int4 int8 integer intersect interval into io_after_gtids \
    io_before_gtids is iterate join json_table key keys kill lag last_value lateral lead leading leave left \
    like limit linear lines load localtime localtimestamp lock long longblob longtext loop low_priority \
    manual master_bind master_demote_to_replica master_demote_to_slave master_ssl_verify_server_cert match \
    maxvalue mediumblob mediumint mediumtext middleint minute_microsecond minute_second mod modifies natural \
    no_write_to_binlog not nth_value ntile null numeric of offset on optimize optimizer_costs option optionally \
    or order out outer outfile over page_checksum parallel parse_vcol_expr partition percent_rank portion \
    precision primary procedure purge qualify range rank read read_write reads real recursive ref_system_id \
    references regexp release rename repeat replace require resignal restrict return returning revoke right \
    rlike row row_number rows schema schemas second_microsecond select sensitive separator set show signal \
    smallint spatial specific sql sql_big_result sql_calc_found_rows sql_small_result sqlexception sqlstate \
    sqlwarning ssl starting stats_auto_recalc stats_persistent stats_sample_pages stored straight_join system \
    table tablesample terminated then tinyblob tinyint tinytext to trailing trigger true undo union unique \
    unlock unsigned update usage use using utc_date utc_time utc_timestamp values varbinary varchar varcharacter \
    varying virtual when where while window with write xor year_month zerofill";

/// Of PostgreSQL: `SELECT word FROM pg_get_keywords() WHERE catcode IN ('R', 'T')` of 15, and
/// `system_user` of 16.
const OF_POSTGRES: &str = "\
    all analyse analyze and any array as asc asymmetric authorization binary both case cast check collate \
    collation column concurrently constraint create cross current_catalog current_date current_role \
    current_schema current_time current_timestamp current_user default deferrable desc distinct do else end \
    except false fetch for foreign freeze from full grant group having ilike in initially inner intersect into \
    is isnull join lateral leading left like limit localtime localtimestamp natural not notnull null offset on \
    only or order outer overlaps placing primary references returning right select session_user similar some \
    symmetric system_user table tablesample then to trailing true union unique user using variadic verbose when \
    where window with";

/// Of SQLite: those of <https://sqlite.org/lang_keywords.html> that its grammar never takes for a
/// name, and those that it takes for an operator or a join wherever one can stand (`LIKE_KW`,
/// `MATCH`, `JOIN_KW` and `INDEXED` in its `parse.y`).
const OF_SQLITE: &str = "\
    add all alter and as autoincrement between case check collate commit constraint create cross default \
    deferrable delete distinct drop else escape except exists foreign from full glob group having in index \
    indexed inner insert intersect into is isnull join left like limit match natural not nothing notnull null on \
    or order outer primary references regexp returning right select set table then to transaction union unique \
    update using values when where";

/// The words, in small letters, with spaces between.
pub(super) fn words(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Mysql => OF_MYSQL,
        Dialect::Postgres => OF_POSTGRES,
        Dialect::Sqlite => OF_SQLITE,
    }
}

/// Whether the server may take it for something else than a name.
pub(super) fn is_reserved(dialect: Dialect, word: &str) -> bool {
    words(dialect).split(' ').any(|reserved| word.eq_ignore_ascii_case(reserved))
}
