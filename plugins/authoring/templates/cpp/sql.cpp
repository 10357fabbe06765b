// {{name}}: a row for each return in the table `{{snake}}`.

#include <algorithm>
#include <string>
#include <vector>

#include "salt.h"

const char *const salt_name = "{{name}}";
const char *const salt_version = "0.1.0";
const char *const salt_options[] = {"severity", nullptr};

using Value = salt_returner_sql_value_t;

const size_t ROWS = 500; // of one statement: databases limit its parameters

// `db` is what the configuration calls the database, in `{{name}}.connections`.
static bool execute(const std::string &statement, std::vector<Value> values, salt_failure *failure) {
    salt_string db = salt_literal("db"), text = salt_view(statement);
    salt_returner_sql_list_value_t params = {values.data(), values.size()};
    salt_returner_sql_error_t error;
    uint64_t changed;
    if (salt_returner_sql_execute(&db, &text, &params, &changed, &error)) {
        return true;
    }
    salt_fail(failure, error.message, error.retryable);
    salt_returner_sql_error_free(&error);
    return false;
}

bool setup(salt_failure *failure) {
    return execute("CREATE TABLE IF NOT EXISTS {{snake}} (item_key varchar(32) PRIMARY KEY, jid varchar(255), "
                   "minion varchar(255), fun varchar(255), severity varchar(32))",
                   {}, failure);
}

static Value text(salt_string string) {
    Value value = {};
    value.tag = SALT_RETURNER_SQL_VALUE_TEXT;
    value.val.text = string;
    return value;
}

static std::string severity() {
    salt_string name = salt_literal("severity"), option;
    return salt_returner_config_get(&name, &option) ? salt_take(option) : "info";
}

static bool store_rows(const salt_item *items, size_t count, salt_failure *failure) {
    std::string usual = severity(), again, rows;
    std::vector<Value> keys, values;
    for (const salt_item *item = items; item != items + count; item++) {
        // Of these an earlier delivery may have been stored; `key` is the same each time.
        if (item->redelivered) {
            again += again.empty() ? "?" : ", ?";
            keys.push_back(text(item->key));
        }
        rows += rows.empty() ? "(?, ?, ?, ?, ?)" : ", (?, ?, ?, ?, ?)";
        salt_string level = item->success ? salt_view(usual) : salt_literal("error");
        for (salt_string column : {item->key, item->jid, item->minion, item->fun, level}) {
            values.push_back(text(column));
        }
    }
    if (!keys.empty() && !execute("DELETE FROM {{snake}} WHERE item_key IN (" + again + ")", keys, failure)) {
        return false;
    }
    return execute("INSERT INTO {{snake}} (item_key, jid, minion, fun, severity) VALUES " + rows, values, failure);
}

// All statements of one call are one transaction: true commits it, false undoes it.
bool store(const salt_batch *batch, salt_refusals *, salt_failure *failure) {
    for (size_t start = 0; start < batch->len; start += ROWS) {
        if (!store_rows(batch->ptr + start, std::min(ROWS, batch->len - start), failure)) {
            return false;
        }
    }
    return true; // all of it is stored; salt_refuse(...) for each item that is not
}
