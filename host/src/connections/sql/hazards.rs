//! What of a database leads beyond a transaction: what keeps that which is rolled back, and what
//! runs functions that somebody has written, which can do anything.
//!
//! A trial writes nothing for good, so it goes near none of it. What is not looked for: what a
//! server's administrator has put among its own functions, and types written in C.

use super::{SqlError, SqlRows, SqlTransaction, SqlValue};
use crate::connections::answer::AnswerBounds;

/// Names without schemas: the same name in another schema counts, too.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Hazards {
    /// Tables not to be changed.
    pub(crate) changing: Vec<String>,
    /// Tables not to be read either: views, and those that a function of the database's own is
    /// part of.
    pub(crate) reading: Vec<String>,
    /// Functions of the database's own. PostgreSQL calls them also for a column that is not there
    /// (`t.f` is `f(t)`), and in the place of its own for other types.
    pub(crate) calling: Vec<String>,
    /// Operators and casts of the database's own, in the place of the server's: no statement can
    /// be told not to use them.
    pub(crate) any: Vec<String>,
}

/// Tables of other engines than InnoDB, sequences, views, tables with triggers. Neither a default
/// nor a check nor a generated column can call a stored function there, but a view can.
const MYSQL: &str = "SELECT 'changing', t.table_name FROM information_schema.tables t \
     LEFT JOIN information_schema.engines e ON e.engine = t.engine \
     WHERE (COALESCE(e.transactions, 'NO') <> 'YES' OR t.table_type = 'SEQUENCE') \
     AND t.table_schema NOT IN ('information_schema', 'mysql', 'performance_schema', 'sys') \
     UNION SELECT 'changing', g.event_object_table FROM information_schema.triggers g \
     WHERE g.event_object_schema NOT IN ('information_schema', 'mysql', 'performance_schema', 'sys') \
     UNION SELECT 'reading', v.table_name FROM information_schema.tables v WHERE v.table_type LIKE '%VIEW' \
     AND v.table_schema NOT IN ('information_schema', 'mysql', 'performance_schema', 'sys')";

/// `leads`: views, foreign tables, and tables with triggers or rules, also by a partition or a
/// foreign key. `own`: from functions that are neither PostgreSQL's nor of an extension that only
/// computes, to all that depends on them, and from a default, a check, a policy, an index, or a
/// partition to its table.
const POSTGRES: &str = "WITH RECURSIVE leads(oid) AS (\
     SELECT c.oid FROM pg_class c WHERE c.relkind IN ('v', 'm', 'f') OR c.relhasrules \
     OR EXISTS (SELECT FROM pg_trigger g LEFT JOIN pg_constraint k ON k.oid = g.tgconstraint \
     WHERE g.tgrelid = c.oid AND COALESCE(k.contype, 't') = 't') \
     UNION SELECT l.above FROM leads JOIN (SELECT inhrelid AS below, inhparent AS above FROM pg_inherits \
     UNION ALL SELECT conrelid, confrelid FROM pg_constraint WHERE contype = 'f') l ON l.below = leads.oid\
     ), servers(oid) AS (\
     SELECT oid FROM pg_namespace WHERE nspname IN ('information_schema', 'pg_catalog')\
     ), computes(class, id) AS (\
     SELECT d.classid, d.objid FROM pg_depend d JOIN pg_extension x ON x.oid = d.refobjid \
     WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND x.extname IN \
     ('btree_gin', 'btree_gist', 'citext', 'cube', 'fuzzystrmatch', 'hstore', 'intarray', 'isn', 'ltree', \
     'pg_trgm', 'pgcrypto', 'unaccent', 'uuid-ossp')\
     ), functions(oid, name) AS (\
     SELECT p.oid, p.proname FROM pg_proc p WHERE p.pronamespace NOT IN (SELECT oid FROM servers) \
     AND (('pg_proc'::regclass)::oid, p.oid) NOT IN (SELECT class, id FROM computes)\
     ), edges(class, id, of_class, of_id) AS (\
     SELECT classid, objid, refclassid, refobjid FROM pg_depend WHERE deptype NOT IN ('e', 'x') \
     UNION ALL SELECT ('pg_class'::regclass)::oid, adrelid, ('pg_attrdef'::regclass)::oid, oid FROM pg_attrdef \
     UNION ALL SELECT ('pg_class'::regclass)::oid, conrelid, ('pg_constraint'::regclass)::oid, oid \
     FROM pg_constraint WHERE conrelid <> 0 \
     UNION ALL SELECT ('pg_type'::regclass)::oid, contypid, ('pg_constraint'::regclass)::oid, oid \
     FROM pg_constraint WHERE contypid <> 0 \
     UNION ALL SELECT ('pg_class'::regclass)::oid, polrelid, ('pg_policy'::regclass)::oid, oid FROM pg_policy \
     UNION ALL SELECT ('pg_class'::regclass)::oid, indrelid, ('pg_class'::regclass)::oid, indexrelid \
     FROM pg_index \
     UNION ALL SELECT ('pg_class'::regclass)::oid, inhparent, ('pg_class'::regclass)::oid, inhrelid \
     FROM pg_inherits\
     ), own(class, id) AS (\
     SELECT ('pg_proc'::regclass)::oid, oid FROM functions \
     UNION SELECT e.class, e.id FROM own JOIN edges e ON e.of_class = own.class AND e.of_id = own.id\
     ), readable(oid) AS (\
     SELECT oid FROM pg_class WHERE relkind IN ('v', 'm', 'f') \
     UNION SELECT id FROM own WHERE class = 'pg_class'::regclass\
     ) \
     SELECT 'changing', c.relname::text FROM leads JOIN pg_class c ON c.oid = leads.oid \
     WHERE c.relnamespace NOT IN (SELECT oid FROM servers) \
     UNION SELECT 'reading', c.relname::text FROM readable r JOIN pg_class c ON c.oid = r.oid \
     WHERE c.relnamespace NOT IN (SELECT oid FROM servers) AND c.relkind IN ('r', 'p', 'v', 'm', 'f') \
     UNION SELECT 'calling', name::text FROM functions \
     UNION SELECT 'any', 'the operator `' || o.oprname || '`' FROM pg_operator o \
     WHERE o.oprnamespace NOT IN (SELECT oid FROM servers) \
     AND (('pg_operator'::regclass)::oid, o.oid) NOT IN (SELECT class, id FROM computes) \
     AND o.oprname IN ('=', '<>', '<', '>', '<=', '>=', '+', '-', '*', '/', '%', '||', '->', '->>', \
     '~~', '!~~', '~~*', '!~~*') \
     UNION SELECT 'any', 'a cast by `' || f.name || '`' FROM pg_cast k JOIN functions f ON f.oid = k.castfunc";

impl SqlTransaction {
    /// Looked up in the transaction itself: what it sees is what its statements would meet.
    pub(crate) async fn hazards(&mut self) -> Result<Hazards, SqlError> {
        let bounds = AnswerBounds { bytes: 16 << 20, rows: 100_000 };
        let found = match self {
            Self::Mysql(transaction) => transaction.query(MYSQL.to_owned(), Vec::new(), bounds).await?,
            Self::Postgres(transaction) => transaction.query(POSTGRES.to_owned(), Vec::new(), bounds).await?,
            // None of its functions reaches beyond a transaction.
            Self::Sqlite(_) => SqlRows::default(),
        };
        let mut hazards = Hazards::default();
        for row in found.rows {
            let mut texts = row.into_iter().map(text);
            let (Some(Some(what)), Some(Some(name))) = (texts.next(), texts.next()) else { continue };
            match what.as_str() {
                "changing" => hazards.changing.push(name),
                "reading" => hazards.reading.push(name),
                "calling" => hazards.calling.push(name),
                _ => hazards.any.push(name),
            }
        }
        Ok(hazards)
    }
}

fn text(value: SqlValue) -> Option<String> {
    match value {
        SqlValue::Text(text) => Some(text),
        SqlValue::Bytes(bytes) => String::from_utf8(bytes).ok(),
        _ => None,
    }
}
