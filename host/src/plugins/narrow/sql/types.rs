//! PostgreSQL: types that are made of tables (each table is one), or that tell of what there is
//! (`16391::regclass::text`), and functions in the places where another server has none.

use std::ops::ControlFlow;

use sqlparser::ast::{
    AlterTableOperation, ColumnDef, DataType, Expr, Statement, TypedString, Visit, Visitor,
};

use super::reading::{Reader, flow};
use super::{Dialect, refused};
use crate::plugins::narrow::Refused;

/// The types that are values of their own, without what stands in parentheses.
const PLAIN: &str = "\
    BIGINT BIT BOOL BOOLEAN BPCHAR BYTEA CHAR CHARACTER CIDR DATE DEC DECIMAL FLOAT FLOAT4 FLOAT8 INET INT INT2 INT4 \
    INT8 INTEGER INTERVAL JSON JSONB MACADDR MACADDR8 MONEY NUMERIC REAL SMALLINT TEXT TIME TIMESTAMP TIMESTAMPTZ \
    TIMETZ TSVECTOR UUID VARBIT VARCHAR XML";

/// Those that are types of columns only; elsewhere a table may have that name.
const SERIAL: [&str; 6] = ["BIGSERIAL", "SERIAL", "SERIAL2", "SERIAL4", "SERIAL8", "SMALLSERIAL"];

/// Those of several words.
const LONG: [&str; 9] = [
    "BIT VARYING",
    "CHAR VARYING",
    "CHARACTER VARYING",
    "DOUBLE PRECISION",
    "NATIONAL CHARACTER",
    "TIME WITH TIME ZONE",
    "TIME WITHOUT TIME ZONE",
    "TIMESTAMP WITH TIME ZONE",
    "TIMESTAMP WITHOUT TIME ZONE",
];

/// Refuses a statement in which another type stands, or a function that is not known.
pub(super) fn check(statement: &Statement) -> Result<(), Refused> {
    match statement.visit(&mut Types) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(refused) => Err(*refused),
    }
}

struct Types;

impl Types {
    fn check_columns<'c>(columns: impl IntoIterator<Item = &'c ColumnDef>) -> Result<(), Refused> {
        let is_serial =
            |data_type: &DataType| SERIAL.contains(&data_type.to_string().to_ascii_uppercase().as_str());
        columns
            .into_iter()
            .map(|column| &column.data_type)
            .filter(|one| !is_serial(one))
            .try_for_each(check_type)
    }

    fn check_statement(statement: &Statement) -> Result<(), Refused> {
        match statement {
            Statement::CreateTable(create) => Self::check_columns(&create.columns),
            Statement::AlterTable(alter) => {
                Self::check_columns(alter.operations.iter().filter_map(|operation| match operation {
                    AlterTableOperation::AddColumn { column_def, .. } => Some(column_def),
                    _ => None,
                }))
            }
            _ => Ok(()),
        }
    }

    fn check_expr(expr: &Expr) -> Result<(), Refused> {
        match expr {
            Expr::Cast { data_type, .. } | Expr::TypedString(TypedString { data_type, .. }) => {
                check_type(data_type)
            }
            Expr::Convert { .. } => Err(refused("CONVERT")),
            _ => Reader::check_expr(Dialect::Postgres, expr),
        }
    }
}

fn check_type(data_type: &DataType) -> Result<(), Refused> {
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
    let name = outside.split_whitespace().collect::<Vec<_>>().join(" ");
    if LONG.contains(&name.as_str()) || PLAIN.split(' ').any(|plain| plain == name) {
        Ok(())
    } else {
        Err(refused(&format!("the type `{data_type}`")))
    }
}

impl Visitor for Types {
    type Break = Box<Refused>;

    fn pre_visit_statement(&mut self, statement: &Statement) -> ControlFlow<Self::Break> {
        flow(Self::check_statement(statement))
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Self::Break> {
        flow(Self::check_expr(expr))
    }
}
