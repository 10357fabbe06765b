// {{name}}: counts runs and failures by minion in Redis. `PFCOUNT {{name}}:failures:web1` tells.

#include "salt.h"

const char *const salt_name = "{{name}}";
const char *const salt_version = "0.1.0";
const char *const salt_options[] = {NULL};

bool setup(salt_failure *failure) {
    (void)failure; // Redis needs nothing to be created
    return true;
}

// What is sent, and whose return each command is for.
typedef struct {
    salt_returner_redis_list_bytes_t *commands;
    size_t *places, len;
} pipeline;

// PFADD counts a key once, so that a return that is delivered twice changes nothing.
static void count(pipeline *pipeline, const char *counter, const salt_batch *batch, size_t place) {
    const salt_item *item = &batch->ptr[place];
    salt_text key = {0};
    salt_put(&key, counter);
    salt_add(&key, item->minion.ptr, item->minion.len);
    salt_returner_redis_bytes_t *words = salt_room(3, sizeof *words);
    words[0] = (salt_returner_redis_bytes_t){(uint8_t *)"PFADD", 5};
    words[1] = (salt_returner_redis_bytes_t){key.ptr, key.len};
    words[2] = (salt_returner_redis_bytes_t){item->key.ptr, item->key.len};
    pipeline->commands[pipeline->len] = (salt_returner_redis_list_bytes_t){words, 3};
    pipeline->places[pipeline->len++] = place;
}

// One command's error is a reply. A return is refused once, whatever became of its other command.
static void refuse(const pipeline *sent, const salt_returner_redis_list_reply_t *replies, salt_refusals *refusals) {
    for (size_t i = 0; i < replies->len && i < sent->len; i++) {
        const salt_returner_redis_reply_t *reply = &replies->ptr[i];
        if (reply->tag != SALT_RETURNER_REDIS_REPLY_SCALAR || reply->val.scalar.tag != SALT_RETURNER_REDIS_SCALAR_ERROR ||
            (refusals->len > 0 && refusals->ptr[refusals->len - 1].index == sent->places[i])) {
            continue;
        }
        const salt_returner_redis_error_t *error = &reply->val.scalar.val.error;
        salt_refuse(refusals, sent->places[i], error->message, error->retryable);
    }
}

bool store(const salt_batch *batch, salt_refusals *refusals, salt_failure *failure) {
    if (batch->len == 0) {
        return true;
    }
    pipeline pipeline = {
        salt_room(2 * batch->len, sizeof *pipeline.commands),
        salt_room(2 * batch->len, sizeof *pipeline.places),
        0,
    };
    for (size_t place = 0; place < batch->len; place++) {
        count(&pipeline, "{{name}}:runs:", batch, place);
        if (!batch->ptr[place].success) {
            count(&pipeline, "{{name}}:failures:", batch, place);
        }
    }
    salt_string db = salt_literal("db");
    salt_returner_redis_list_list_bytes_t commands = {pipeline.commands, pipeline.len};
    salt_returner_redis_list_reply_t replies;
    salt_returner_redis_error_t error;
    bool stored = salt_returner_redis_pipeline(&db, &commands, &replies, &error);
    if (stored) {
        refuse(&pipeline, &replies, refusals);
        salt_returner_redis_list_reply_free(&replies);
    } else {
        salt_fail(failure, error.message, error.retryable);
        salt_returner_redis_error_free(&error);
    }
    for (size_t i = 0; i < pipeline.len; i++) {
        free(pipeline.commands[i].ptr[1].ptr); // the key; the other words are not ours
        free(pipeline.commands[i].ptr);
    }
    free(pipeline.commands);
    free(pipeline.places);
    return stored;
}
