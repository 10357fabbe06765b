//! Types that are known, of the servers where one may be something else.
//!
//! To PostgreSQL each table is a type, and some types tell of what there is
//! (`16391::regclass::text`). To MySQL what the parser takes for a column and its type may be
//! another table: `(LIKE secrets)` copies it. SQLite takes any words for a type, and none for a
//! table.

use std::ops::ControlFlow;

use sqlparser::ast::{
    AlterTableOperation, ColumnDef, DataType, Expr, Statement, TypedString, Visit, Visitor,
};

use super::reading::{Reader, flow};
use super::{Dialect, refused};
use crate::plugins::narrow::Refused;

/// PostgreSQL's that are values of their own, without what stands in parentheses.
const OF_POSTGRES: &str = "\
    BIGINT BIT BOOL BOOLEAN BPCHAR BYTEA CHAR CHARACTER CIDR DATE DEC DECIMAL FLOAT FLOAT4 FLOAT8 INET INT INT2 INT4 \
    INT8 INTEGER INTERVAL JSON JSONB MACADDR MACADDR8 MONEY NUMERIC REAL SMALLINT TEXT TIME TIMESTAMP TIMESTAMPTZ \
    TIMETZ TSVECTOR UUID VARBIT VARCHAR XML";

/// MySQL's and MariaDB's, without that and without [`SIGNS`].
const OF_MYSQL: &str = "\
    BIGINT BINARY BIT BLOB BOOL BOOLEAN CHAR CHARACTER DATE DATETIME DEC DECIMAL DOUBLE ENUM FIXED FLOAT FLOAT4 FLOAT8 \
    INET4 INET6 INT INT2 INT4 INT8 INTEGER JSON LONGBLOB LONGTEXT MEDIUMBLOB MEDIUMINT MEDIUMTEXT NCHAR NUMERIC \
    NVARCHAR REAL SERIAL SET SIGNED SMALLINT TEXT TIME TIMESTAMP TINYBLOB TINYINT TINYTEXT UNSIGNED UUID VARBINARY \
    VARCHAR YEAR";

/// What MySQL has behind the name of a type.
const SIGNS: [&str; 3] = ["SIGNED", "UNSIGNED", "ZEROFILL"];

/// PostgreSQL's that are types of columns only; elsewhere a table may have that name.
const SERIAL: [&str; 6] = ["BIGSERIAL", "SERIAL", "SERIAL2", "SERIAL4", "SERIAL8", "SMALLSERIAL"];

/// Those of several words.
const LONG: [&str; 11] = [
    "BIT VARYING",
    "CHAR VARYING",
    "CHARACTER VARYING",
    "DOUBLE PRECISION",
    "NATIONAL CHARACTER",
    "SIGNED INTEGER",
    "TIME WITH TIME ZONE",
    "TIME WITHOUT TIME ZONE",
    "TIMESTAMP WITH TIME ZONE",
    "TIMESTAMP WITHOUT TIME ZONE",
    "UNSIGNED INTEGER",
];

/// Refuses a statement in which another type stands, or a function that is not known.
pub(super) fn check(dialect: Dialect, statement: &Statement) -> Result<(), Refused> {
    if dialect == Dialect::Sqlite {
        return Ok(());
    }
    match statement.visit(&mut Types(dialect)) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(refused) => Err(*refused),
    }
}

struct Types(Dialect);

impl Types {
    fn check_columns<'c>(&self, columns: impl IntoIterator<Item = &'c ColumnDef>) -> Result<(), Refused> {
        let is_serial = |data_type: &DataType| {
            self.0 == Dialect::Postgres
                && SERIAL.contains(&data_type.to_string().to_ascii_uppercase().as_str())
        };
        columns
            .into_iter()
            .map(|column| &column.data_type)
            .filter(|one| !is_serial(one))
            .try_for_each(|one| self.check_type(one))
    }

    fn check_statement(&self, statement: &Statement) -> Result<(), Refused> {
        match statement {
            Statement::CreateTable(create) => self.check_columns(&create.columns),
            Statement::AlterTable(alter) => {
                self.check_columns(alter.operations.iter().filter_map(|operation| match operation {
                    AlterTableOperation::AddColumn { column_def, .. } => Some(column_def),
                    _ => None,
                }))
            }
            _ => Ok(()),
        }
    }

    fn check_expr(&self, expr: &Expr) -> Result<(), Refused> {
        match expr {
            Expr::Cast { data_type, .. } | Expr::TypedString(TypedString { data_type, .. }) => {
                self.check_type(data_type)?;
            }
            Expr::Convert { data_type: Some(data_type), .. } => self.check_type(data_type)?,
            _ => {}
        }
        // Of the others, what is read of a statement has all its expressions.
        if self.0 == Dialect::Postgres { Reader::check_expr(self.0, expr) } else { Ok(()) }
    }

    fn check_type(&self, data_type: &DataType) -> Result<(), Refused> {
        let written = data_type.to_string().to_ascii_uppercase();
        let mut depth = 0;
        let outside: String = written
            .chars()
            .filter(|c| {
                depth += i32::from(*c == '(');
                let is_outside = depth == 0;
                depth -= i32::from(*c == ')');
                is_outside
            })
            .collect();
        let mut words: Vec<&str> = outside.split_whitespace().collect();
        let is_signed = |words: &[&str]| matches!(words, [_, .., sign] if SIGNS.contains(sign));
        while self.0 == Dialect::Mysql && is_signed(&words) {
            words.pop();
        }
        let plain = if self.0 == Dialect::Mysql { OF_MYSQL } else { OF_POSTGRES };
        let name = words.join(" ");
        if LONG.contains(&name.as_str()) || plain.split(' ').any(|plain| plain == name) {
            Ok(())
        } else {
            Err(refused(&format!("the type `{data_type}`")))
        }
    }
}

impl Visitor for Types {
    type Break = Box<Refused>;

    fn pre_visit_statement(&mut self, statement: &Statement) -> ControlFlow<Self::Break> {
        flow(self.check_statement(statement))
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Self::Break> {
        flow(self.check_expr(expr))
    }
}

#[cfg(test)]
mod tests {
    use super::super::SqlRules;
    use super::*;
    use crate::config::Actions;

    fn rules() -> SqlRules {
        let verbs = ["create", "alter"].map(str::to_owned);
        SqlRules::new(Dialect::Mysql, Actions::from([("audit".to_owned(), verbs.into())]))
    }

    /// `LIKE` as a column, and its type, is a copy of that table.
    #[test]
    fn a_column_on_mysql_has_a_type_of_mysqls() {
        for statement in [
            "CREATE TABLE audit (LIKE secrets)",
            "CREATE TABLE audit (LIKE mysql.global_priv)",
            "CREATE TABLE audit (`x` INT, LIKE secrets)",
            "CREATE TABLE audit (`LIKE` secrets)",
            "CREATE TABLE audit (x secrets)",
            "ALTER TABLE audit ADD COLUMN x secrets",
            "ALTER TABLE audit ADD x secrets(1)",
        ] {
            assert!(rules().allows(statement).is_err(), "{statement}");
        }
        for statement in [
            "CREATE TABLE audit (a INT, b BIGINT(20) UNSIGNED NOT NULL, c ENUM('(', 'b'), d DECIMAL(10, 2), e JSON)",
            "CREATE TABLE audit (a DOUBLE PRECISION, b CHARACTER VARYING(10), c DATETIME(6), d YEAR, e VARBINARY(9))",
            "CREATE TABLE audit (a LONGTEXT, b MEDIUMBLOB, c TINYINT(1), d BOOLEAN, e SET('a', 'b'), f UUID, g INET6)",
            "CREATE TABLE audit (a INT UNSIGNED ZEROFILL, b CHAR(36) CHARACTER SET ascii COLLATE ascii_bin)",
            "ALTER TABLE audit ADD COLUMN x INT UNSIGNED NOT NULL DEFAULT 0 AFTER a, ADD y TEXT FIRST",
        ] {
            assert_eq!(rules().allows(statement), Ok(()), "{statement}");
        }
    }

    #[test]
    fn casts_go_on() {
        let cast = "SELECT CAST(1 AS CHAR(10)), CAST(1 AS UNSIGNED), CAST('{}' AS JSON), CONVERT(1, SIGNED), \
                    CONVERT('a' USING utf8mb4), CAST(1 AS DECIMAL(10, 2)), CAST(1 AS SIGNED INTEGER)";
        assert_eq!(rules().allows(cast), Ok(()));
        assert!(rules().allows("SELECT CAST(1 AS secrets)").is_err());
    }
}
