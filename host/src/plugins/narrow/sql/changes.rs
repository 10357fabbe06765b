//! Statements that change rows. Every field of the parser's is named, so that a new one is
//! thought of before this compiles.

use sqlparser::ast::{
    AssignmentTarget, Delete, FromTable, Insert, OnConflictAction, OnInsert, TableFactor, TableObject,
    TableWithJoins, Update,
};

use super::reading::{is_plain, read};
use super::{Dialect, Table, Uses, refused, table};
use crate::plugins::narrow::Refused;

pub(super) fn of_insert(dialect: Dialect, insert: &Insert) -> Result<Uses, Refused> {
    let Insert {
        insert_token: _,
        optimizer_hints,
        or,
        ignore: _,
        into: _,
        table: target,
        table_alias: _,
        columns: _,
        by_name,
        overwrite,
        source,
        assignments,
        partitioned,
        after_columns,
        overriding,
        has_table_keyword,
        on,
        returning,
        output,
        replace_into,
        priority: _,
        insert_alias: _,
        settings,
        format_clause,
        multi_table_insert_type,
        multi_table_into_clauses,
        multi_table_when_clauses,
        multi_table_else_clause,
    } = insert;
    let odd = *by_name
        || *overwrite
        || *has_table_keyword
        || !optimizer_hints.is_empty()
        || partitioned.is_some()
        || !after_columns.is_empty()
        || overriding.is_some()
        || output.is_some()
        || settings.is_some()
        || format_clause.is_some()
        || multi_table_insert_type.is_some()
        || !multi_table_into_clauses.is_empty()
        || !multi_table_when_clauses.is_empty()
        || multi_table_else_clause.is_some();
    let TableObject::TableName(name) = target else { return Err(refused("this form of INSERT")) };
    if odd {
        return Err(refused("this form of INSERT"));
    }
    let name = table(name)?;
    let mut uses = vec![("insert", name.clone())];
    if *replace_into || or.is_some() {
        uses.push(("delete", name.clone()));
    }
    match on {
        Some(OnInsert::DuplicateKeyUpdate(_)) => uses.push(("update", name.clone())),
        Some(OnInsert::OnConflict(conflict)) => {
            if let OnConflictAction::DoUpdate(_) = conflict.action {
                uses.push(("update", name.clone()));
            }
        }
        Some(_) => return Err(refused("this form of INSERT")),
        None => {}
    }
    if returning.is_some() {
        uses.push(("select", name));
    }
    uses.extend(read(dialect, source)?);
    uses.extend(read(dialect, assignments)?);
    uses.extend(read(dialect, on)?);
    uses.extend(read(dialect, returning)?);
    Ok(uses)
}

pub(super) fn of_update(dialect: Dialect, update: &Update) -> Result<Uses, Refused> {
    let Update {
        update_token: _,
        optimizer_hints,
        table,
        on_cluster,
        assignments,
        from,
        selection,
        returning,
        output,
        or,
        order_by,
        limit,
        settings,
    } = update;
    let odd = !optimizer_hints.is_empty()
        || on_cluster.is_some()
        || from.is_some()
        || output.is_some()
        || settings.is_some()
        || assignments.iter().any(|one| !matches!(one.target, AssignmentTarget::ColumnName(_)));
    if odd {
        return Err(refused("this form of UPDATE"));
    }
    let name = single(table)?;
    let mut uses = vec![("update", name.clone())];
    if or.is_some() {
        uses.push(("delete", name.clone()));
    }
    if returning.is_some() {
        uses.push(("select", name));
    }
    uses.extend(read(dialect, assignments)?);
    uses.extend(read(dialect, selection)?);
    uses.extend(read(dialect, returning)?);
    uses.extend(read(dialect, order_by)?);
    uses.extend(read(dialect, limit)?);
    Ok(uses)
}

pub(super) fn of_delete(dialect: Dialect, delete: &Delete) -> Result<Uses, Refused> {
    let Delete {
        delete_token: _,
        optimizer_hints,
        tables,
        from,
        on_cluster,
        using,
        selection,
        returning,
        output,
        order_by,
        limit,
        settings,
    } = delete;
    let odd = !optimizer_hints.is_empty()
        || !tables.is_empty()
        || on_cluster.is_some()
        || using.is_some()
        || output.is_some()
        || settings.is_some();
    let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = from;
    let ([from], false) = (from.as_slice(), odd) else { return Err(refused("this form of DELETE")) };
    let name = single(from)?;
    let mut uses = vec![("delete", name.clone())];
    if returning.is_some() {
        uses.push(("select", name));
    }
    uses.extend(read(dialect, selection)?);
    uses.extend(read(dialect, returning)?);
    uses.extend(read(dialect, order_by)?);
    uses.extend(read(dialect, limit)?);
    Ok(uses)
}

/// The only table of a clause that could name several.
fn single(from: &TableWithJoins) -> Result<Table, Refused> {
    match (&from.relation, from.joins.is_empty()) {
        (factor @ TableFactor::Table { name, args: None, .. }, true) if is_plain(factor) => table(name),
        _ => Err(refused("a change of several tables at once")),
    }
}
