// {{name}}: a row for each return in the table `{{snake}}`.

#include "salt.h"

const char *const salt_name = "{{name}}";
const char *const salt_version = "0.1.0";
const char *const salt_options[] = {"severity", NULL};

#define ROWS 500 // of one statement: databases limit its parameters
#define COLUMNS 5

typedef salt_returner_sql_value_t value;

// `db` is what the configuration calls the database, in `{{name}}.connections`.
static bool execute(salt_string statement, value *values, size_t count, salt_failure *failure) {
    salt_string db = salt_literal("db");
    salt_returner_sql_list_value_t params = {values, count};
    salt_returner_sql_error_t error;
    uint64_t changed;
    if (salt_returner_sql_execute(&db, &statement, &params, &changed, &error)) {
        return true;
    }
    salt_fail(failure, error.message, error.retryable);
    salt_returner_sql_error_free(&error);
    return false;
}

bool setup(salt_failure *failure) {
    return execute(salt_literal("CREATE TABLE IF NOT EXISTS {{snake}} (item_key varchar(32) PRIMARY KEY, jid varchar(255), "
                                "minion varchar(255), fun varchar(255), severity varchar(32))"),
                   NULL, 0, failure);
}

static value text(salt_string string) {
    value value = {.tag = SALT_RETURNER_SQL_VALUE_TEXT, .val = {.text = string}};
    return value;
}

static bool store_rows(const salt_item *items, size_t count, salt_failure *failure) {
    value *values = salt_room(count * COLUMNS, sizeof *values);
    salt_string name = salt_literal("severity"), option = {0};
    salt_string usual = salt_returner_config_get(&name, &option) ? option : salt_literal("info");
    salt_text statement = {0};
    size_t used = 0;
    bool done = true;
    // Of these an earlier delivery may have been stored; `key` is the same each time.
    for (size_t i = 0; i < count; i++) {
        if (items[i].redelivered) {
            salt_put(&statement, used == 0 ? "DELETE FROM {{snake}} WHERE item_key IN (?" : ", ?");
            values[used++] = text(items[i].key);
        }
    }
    if (used > 0) {
        salt_put(&statement, ")");
        done = execute(salt_whole(&statement), values, used, failure);
    }
    statement.len = used = 0;
    for (size_t i = 0; i < count; i++) {
        salt_put(&statement, i == 0 ? "INSERT INTO {{snake}} (item_key, jid, minion, fun, severity) VALUES " : ", ");
        salt_put(&statement, "(?, ?, ?, ?, ?)");
        values[used++] = text(items[i].key);
        values[used++] = text(items[i].jid);
        values[used++] = text(items[i].minion);
        values[used++] = text(items[i].fun);
        values[used++] = text(items[i].success ? usual : salt_literal("error"));
    }
    done = done && execute(salt_whole(&statement), values, used, failure);
    bindings_string_free(&option);
    free(statement.ptr);
    free(values);
    return done;
}

// All statements of one call are one transaction: true commits it, false undoes it.
bool store(const salt_batch *batch, salt_refusals *refusals, salt_failure *failure) {
    (void)refusals; // for items that are not stored while others are: salt_refuse(refusals, ...)
    for (size_t start = 0; start < batch->len; start += ROWS) {
        size_t count = batch->len - start < ROWS ? batch->len - start : ROWS;
        if (!store_rows(batch->ptr + start, count, failure)) {
            return false;
        }
    }
    return true;
}
