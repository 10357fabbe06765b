//! Statements that make and change tables.

use sqlparser::ast::helpers::stmt_create_table::CreateTableBuilder;
use sqlparser::ast::{
    AlterTable, AlterTableOperation, ColumnDef, ColumnOption, CreateIndex, CreateTable, CreateTableOptions,
    Expr, FunctionArguments, Ident, IndexColumn, ObjectName, TableConstraint,
};

use super::reading::read;
use super::{Dialect, Uses, refused, table};
use crate::plugins::narrow::Refused;

pub(super) fn of_create_table(dialect: Dialect, create: &CreateTable) -> Result<Uses, Refused> {
    // What is not named here must be as in a table without it: no SELECT, LIKE, location.
    let plain = CreateTableBuilder::new(create.name.clone())
        .if_not_exists(create.if_not_exists)
        .columns(create.columns.clone())
        .constraints(create.constraints.clone())
        .table_options(create.table_options.clone())
        .build();
    if plain != *create || !are_plain(&create.table_options) {
        return Err(refused("this form of CREATE TABLE"));
    }
    let mut uses = vec![("create", table(&create.name)?)];
    for column in &create.columns {
        uses.extend(of_column(dialect, column, &create.name)?);
    }
    for constraint in &create.constraints {
        match constraint {
            TableConstraint::ForeignKey(key) if key.foreign_table == create.name => {}
            TableConstraint::ForeignKey(key) => uses.extend(of_reference(&key.foreign_table)?),
            TableConstraint::Unique(key) => {
                check_constraint(dialect, key.name.as_ref(), &create.name)?;
                uses.extend(of_index(dialect, &key.columns)?);
            }
            TableConstraint::PrimaryKey(key) => {
                check_constraint(dialect, key.name.as_ref(), &create.name)?;
                uses.extend(of_index(dialect, &key.columns)?);
            }
            TableConstraint::Index(index) => uses.extend(of_index(dialect, &index.columns)?),
            TableConstraint::Check(check) => uses.extend(read(dialect, check)?),
            _ => return Err(refused("this kind of constraint")),
        }
    }
    Ok(uses)
}

/// An index stands among the tables, but for MySQL: its name is another table's to have, unless
/// it begins as that of its own table, or as `idx_` and that.
fn check_name(dialect: Dialect, name: &ObjectName, of: &ObjectName) -> Result<(), Refused> {
    if dialect == Dialect::Mysql {
        return Ok(());
    }
    let (name, of) = (table(name)?.name, table(of)?.name);
    let (schema, index) = name.rsplit_once('.').unwrap_or(("", &name));
    let (schema_of, table) = of.rsplit_once('.').unwrap_or(("", &of));
    let (index, table) = (index.to_ascii_lowercase(), table.to_ascii_lowercase());
    let is_own = index.strip_prefix("idx_").unwrap_or(&index).starts_with(&table);
    let is_beside = schema.is_empty() || schema.eq_ignore_ascii_case(schema_of);
    if (is_own || index.starts_with(&table)) && is_beside {
        return Ok(());
    }
    Err(refused(&format!("an index with the name `{name}`, which does not begin with `{table}`")))
}

/// On PostgreSQL the index of a constraint has the constraint's name.
fn check_constraint(dialect: Dialect, name: Option<&Ident>, of: &ObjectName) -> Result<(), Refused> {
    match name {
        Some(name) if dialect == Dialect::Postgres => {
            check_name(dialect, &ObjectName::from(vec![name.clone()]), of)
        }
        _ => Ok(()),
    }
}

/// A foreign key tells of the other table's rows, and keeps them from being deleted.
fn of_reference(name: &ObjectName) -> Result<Uses, Refused> {
    let other = table(name)?;
    Ok(vec![("select", other.clone()), ("alter", other)])
}

/// Columns of an index. On MySQL a number behind one is how much of it is in there, which the
/// parser takes for a call: `tag`(255).
fn of_index(dialect: Dialect, columns: &[IndexColumn]) -> Result<Uses, Refused> {
    let mut uses = Uses::new();
    for column in columns {
        let is_prefix = match &column.column.expr {
            Expr::Function(function) if dialect == Dialect::Mysql => match &function.args {
                FunctionArguments::List(list) if function.name.0.len() == 1 => {
                    list.to_string().parse::<u16>().is_ok()
                }
                _ => false,
            },
            _ => false,
        };
        if !is_prefix {
            uses.extend(read(dialect, column)?);
        }
    }
    Ok(uses)
}

/// `ENGINE=InnoDB DEFAULT CHARSET=utf8mb4` and the like: other engines and options reach other
/// tables (`MERGE`, `UNION`), servers (`FEDERATED`) and files (`CSV`, `DATA DIRECTORY`).
fn are_plain(options: &CreateTableOptions) -> bool {
    let CreateTableOptions::Plain(options) = options else { return *options == CreateTableOptions::None };
    options.iter().all(|option| {
        let text = option.to_string().to_ascii_uppercase();
        let Some((key, value)) = text.split_once('=') else { return false };
        let (key, value) = (key.trim(), value.trim());
        match key {
            "ENGINE" => value == "INNODB",
            "CHARSET"
            | "DEFAULT CHARSET"
            | "CHARACTER SET"
            | "DEFAULT CHARACTER SET"
            | "COLLATE"
            | "DEFAULT COLLATE"
            | "ROW_FORMAT"
            | "AUTO_INCREMENT" => value.chars().all(|char| char.is_ascii_alphanumeric() || char == '_'),
            _ => false,
        }
    })
}

fn of_column(dialect: Dialect, column: &ColumnDef, own: &ObjectName) -> Result<Uses, Refused> {
    let mut uses = Uses::new();
    for option in &column.options {
        if let ColumnOption::PrimaryKey(_) | ColumnOption::Unique(_) = option.option {
            check_constraint(dialect, option.name.as_ref(), own)?;
        }
        match &option.option {
            ColumnOption::ForeignKey(key) if key.foreign_table == *own => {}
            ColumnOption::ForeignKey(key) => uses.extend(of_reference(&key.foreign_table)?),
            ColumnOption::Null
            | ColumnOption::NotNull
            | ColumnOption::Default(_)
            | ColumnOption::PrimaryKey(_)
            | ColumnOption::Unique(_)
            | ColumnOption::Check(_)
            | ColumnOption::CharacterSet(_)
            | ColumnOption::Collation(_)
            | ColumnOption::Comment(_)
            | ColumnOption::OnUpdate(_)
            | ColumnOption::Generated { .. } => {}
            ColumnOption::DialectSpecific(tokens)
                if tokens.iter().all(|token| {
                    ["AUTO_INCREMENT", "AUTOINCREMENT"].contains(&token.to_string().to_uppercase().as_str())
                }) => {}
            _ => return Err(refused("this kind of column")),
        }
    }
    uses.extend(read(dialect, column)?);
    Ok(uses)
}

pub(super) fn of_create_index(dialect: Dialect, create: &CreateIndex) -> Result<Uses, Refused> {
    let CreateIndex {
        name,
        table_name,
        using,
        columns,
        unique: _,
        concurrently,
        r#async,
        if_not_exists: _,
        include,
        nulls_distinct,
        with,
        predicate,
        index_options,
        alter_options,
    } = create;
    let odd = using.is_some()
        || *concurrently
        || *r#async
        || !include.is_empty()
        || nulls_distinct.is_some()
        || !with.is_empty()
        || !index_options.is_empty()
        || !alter_options.is_empty();
    if odd {
        return Err(refused("this form of CREATE INDEX"));
    }
    if let Some(name) = name {
        check_name(dialect, name, table_name)?;
    }
    let mut uses = vec![("create", table(table_name)?)];
    uses.extend(of_index(dialect, columns)?);
    uses.extend(read(dialect, predicate)?);
    Ok(uses)
}

pub(super) fn of_alter(dialect: Dialect, alter: &AlterTable) -> Result<Uses, Refused> {
    let AlterTable { name, if_exists: _, only, operations, location, on_cluster, table_type, end_token: _ } =
        alter;
    if *only || location.is_some() || on_cluster.is_some() || table_type.is_some() {
        return Err(refused("this form of ALTER TABLE"));
    }
    let mut uses = vec![("alter", table(name)?)];
    for operation in operations {
        match operation {
            AlterTableOperation::AddColumn { column_def, .. } => {
                uses.extend(of_column(dialect, column_def, name)?)
            }
            // CASCADE would reach what depends on the column.
            AlterTableOperation::DropColumn { drop_behavior: None, .. } => {}
            _ => return Err(refused("this change of a table")),
        }
    }
    Ok(uses)
}
