// {{name}}: keeps a document for each return in the collection `{{snake}}`.

#include <stdio.h>

#include "salt.h"

const char *const salt_name = "{{name}}";
const char *const salt_version = "0.1.0";
const char *const salt_options[] = {NULL};

bool setup(salt_failure *failure) {
    (void)failure; // MongoDB creates the collection itself
    return true;
}

static void put_member(salt_text *json, const char *before, salt_string value) {
    salt_put(json, before);
    salt_json(json, value);
}

// `key` is the same however often a return is delivered, so that the second time changes nothing.
static salt_returner_mongo_update_t update(const salt_item *item) {
    salt_text filter = {0}, change = {0};
    put_member(&filter, "{\"_id\":", item->key);
    salt_put(&filter, "}");
    put_member(&change, "{\"$set\":{\"jid\":", item->jid);
    put_member(&change, ",\"minion\":", item->minion);
    put_member(&change, ",\"fun\":", item->fun);
    salt_put(&change, item->success ? ",\"success\":true}}" : ",\"success\":false}}");
    salt_returner_mongo_update_t update = {salt_whole(&filter), salt_whole(&change), true};
    return update;
}

// What the server refuses of single documents; all others are stored.
static void refuse(const salt_returner_mongo_list_write_error_t *errors, salt_refusals *refusals) {
    for (size_t i = 0; i < errors->len; i++) {
        const salt_returner_mongo_write_error_t *error = &errors->ptr[i];
        char code[20];
        snprintf(code, sizeof code, " (%d)", (int)error->code);
        salt_text message = {0};
        salt_add(&message, error->message.ptr, error->message.len);
        salt_put(&message, code);
        salt_refuse(refusals, error->index, salt_whole(&message), false);
        free(message.ptr);
    }
}

bool store(const salt_batch *batch, salt_refusals *refusals, salt_failure *failure) {
    if (batch->len == 0) {
        return true;
    }
    salt_returner_mongo_list_update_t updates = {salt_room(batch->len, sizeof *updates.ptr), batch->len};
    for (size_t i = 0; i < batch->len; i++) {
        updates.ptr[i] = update(&batch->ptr[i]);
    }
    salt_string db = salt_literal("db"), collection = salt_literal("{{snake}}");
    salt_returner_mongo_list_write_error_t errors;
    salt_returner_mongo_error_t error;
    bool stored = salt_returner_mongo_update_many(&db, &collection, &updates, &errors, &error);
    if (stored) {
        refuse(&errors, refusals);
        salt_returner_mongo_list_write_error_free(&errors);
    } else {
        salt_fail(failure, error.message, error.retryable);
        salt_returner_mongo_error_free(&error);
    }
    for (size_t i = 0; i < updates.len; i++) {
        free(updates.ptr[i].filter.ptr);
        free(updates.ptr[i].change.ptr);
    }
    free(updates.ptr);
    return stored;
}
