// {{name}}: keeps a document for each return in the collection `{{snake}}`.

#include <deque>
#include <string>
#include <vector>

#include "salt.h"

const char *const salt_name = "{{name}}";
const char *const salt_version = "0.1.0";
const char *const salt_options[] = {nullptr};

bool setup(salt_failure *) {
    return true; // MongoDB creates the collection itself
}

// `key` is the same however often a return is delivered, so that the second time changes nothing.
static std::string filter(const salt_item &item) {
    return "{\"_id\":" + salt_quoted(item.key) + "}";
}

static std::string change(const salt_item &item) {
    return "{\"$set\":{\"jid\":" + salt_quoted(item.jid) + ",\"minion\":" + salt_quoted(item.minion) +
           ",\"fun\":" + salt_quoted(item.fun) + ",\"success\":" + (item.success ? "true" : "false") + "}}";
}

bool store(const salt_batch *batch, salt_refusals *refusals, salt_failure *failure) {
    if (batch->len == 0) {
        return true;
    }
    std::deque<std::string> texts; // what the updates point to: a deque leaves them where they are
    std::vector<salt_returner_mongo_update_t> all;
    for (size_t i = 0; i < batch->len; i++) {
        salt_string which = salt_view(texts.emplace_back(filter(batch->ptr[i])));
        all.push_back({which, salt_view(texts.emplace_back(change(batch->ptr[i]))), true});
    }
    // `db` is what the configuration calls the database, in `{{name}}.connections`.
    salt_string db = salt_literal("db"), collection = salt_literal("{{snake}}");
    salt_returner_mongo_list_update_t updates = {all.data(), all.size()};
    salt_returner_mongo_list_write_error_t errors;
    salt_returner_mongo_error_t error;
    if (!salt_returner_mongo_update_many(&db, &collection, &updates, &errors, &error)) {
        salt_fail(failure, error.message, error.retryable);
        salt_returner_mongo_error_free(&error);
        return false;
    }
    // What the server refuses of single documents; all others are stored.
    for (size_t i = 0; i < errors.len; i++) {
        std::string message = salt_copy(errors.ptr[i].message) + " (" + std::to_string(errors.ptr[i].code) + ")";
        salt_refuse(refusals, errors.ptr[i].index, salt_view(message), false);
    }
    salt_returner_mongo_list_write_error_free(&errors);
    return true;
}
