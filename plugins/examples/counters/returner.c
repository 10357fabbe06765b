// counters: how often each function ran and failed on each minion, and when a minion was seen last, in Redis.
//
//   ZCARD counters:runs:web1:test.ping           runs of the last days (the option `days`, 30)
//   ZCARD counters:failures:web1:test.ping       how many of them failed
//   ZREVRANGE counters:seen 0 9 WITHSCORES       who answered last, in milliseconds since 1970
//
// A run is a member of a set, by its key: one that is delivered twice is counted once.

#include <stdio.h>

#include "salt.h"

const char *const salt_name = "counters";
const char *const salt_version = "0.1.0";
const char *const salt_options[] = {"days", NULL};

enum { WORDS = 5, COMMANDS = 5 }; // of one command, and for one return, at most

typedef struct {
    salt_returner_redis_list_bytes_t *commands;
    size_t *places, len;
} pipeline;

static uint64_t days(void) {
    salt_string name = salt_literal("days"), value;
    uint64_t days = 0;
    if (!salt_returner_config_get(&name, &value)) {
        return 30;
    }
    for (size_t i = 0; i < value.len && value.ptr[i] >= '0' && value.ptr[i] <= '9' && days < 100000; i++) {
        days = 10 * days + (value.ptr[i] - '0');
    }
    bindings_string_free(&value);
    return days;
}

bool setup(salt_failure *failure) {
    return days() > 0 || salt_fail(failure, salt_literal("the option `days` is no number of days"), false);
}

static void word(salt_returner_redis_list_bytes_t *command, const void *bytes, size_t len) {
    salt_text copy = {0};
    salt_add(&copy, bytes, len);
    command->ptr[command->len++] = (salt_returner_redis_bytes_t){copy.ptr, copy.len};
}

static salt_returner_redis_list_bytes_t *begin(pipeline *pipeline, size_t place, const char *name) {
    salt_returner_redis_list_bytes_t *command = &pipeline->commands[pipeline->len];
    command->ptr = salt_room(WORDS, sizeof *command->ptr);
    pipeline->places[pipeline->len++] = place;
    word(command, name, strlen(name));
    return command;
}

static void number(salt_returner_redis_list_bytes_t *command, uint64_t value) {
    char text[24];
    word(command, text, (size_t)snprintf(text, sizeof text, "%llu", (unsigned long long)value));
}

// The return is one more in the set, and those that are too old are none any more.
static void count(pipeline *pipeline, const char *set, const salt_item *item, size_t place, uint64_t keep) {
    salt_text key = {0};
    salt_put(&key, set);
    salt_add(&key, item->minion.ptr, item->minion.len);
    salt_put(&key, ":");
    salt_add(&key, item->fun.ptr, item->fun.len);
    salt_returner_redis_list_bytes_t *add = begin(pipeline, place, "ZADD");
    word(add, key.ptr, key.len);
    number(add, item->accepted);
    word(add, item->key.ptr, item->key.len);
    salt_returner_redis_list_bytes_t *trim = begin(pipeline, place, "ZREMRANGEBYSCORE");
    word(trim, key.ptr, key.len);
    word(trim, "-inf", 4);
    number(trim, item->accepted > keep ? item->accepted - keep : 0);
    free(key.ptr);
}

static void seen(pipeline *pipeline, const salt_item *item, size_t place) {
    salt_returner_redis_list_bytes_t *add = begin(pipeline, place, "ZADD");
    word(add, "counters:seen", 13);
    word(add, "GT", 2); // never back to an earlier time
    number(add, item->accepted);
    word(add, item->minion.ptr, item->minion.len);
}

// A command's error is a reply. A return is refused once, whatever became of its other commands.
static void refuse(const pipeline *sent, const salt_returner_redis_list_reply_t *replies, salt_refusals *refusals) {
    for (size_t i = 0; i < replies->len && i < sent->len; i++) {
        const salt_returner_redis_reply_t *reply = &replies->ptr[i];
        bool failed = reply->tag == SALT_RETURNER_REDIS_REPLY_SCALAR &&
                      reply->val.scalar.tag == SALT_RETURNER_REDIS_SCALAR_ERROR;
        if (failed && (refusals->len == 0 || refusals->ptr[refusals->len - 1].index != sent->places[i])) {
            const salt_returner_redis_error_t *error = &reply->val.scalar.val.error;
            salt_refuse(refusals, sent->places[i], error->message, error->retryable);
        }
    }
}

bool store(const salt_batch *batch, salt_refusals *refusals, salt_failure *failure) {
    pipeline pipeline = {
        salt_room(COMMANDS * batch->len + 1, sizeof *pipeline.commands),
        salt_room(COMMANDS * batch->len + 1, sizeof *pipeline.places),
        0,
    };
    uint64_t keep = days() * 86400000;
    for (size_t place = 0; place < batch->len; place++) {
        const salt_item *item = &batch->ptr[place];
        count(&pipeline, "counters:runs:", item, place, keep);
        if (!item->success) {
            count(&pipeline, "counters:failures:", item, place, keep);
        }
        seen(&pipeline, item, place);
    }
    salt_string db = salt_literal("db");
    salt_returner_redis_list_list_bytes_t commands = {pipeline.commands, pipeline.len};
    salt_returner_redis_list_reply_t replies;
    salt_returner_redis_error_t error;
    bool stored = batch->len == 0 || salt_returner_redis_pipeline(&db, &commands, &replies, &error);
    if (stored && batch->len > 0) {
        refuse(&pipeline, &replies, refusals);
        salt_returner_redis_list_reply_free(&replies);
    } else if (!stored) {
        salt_fail(failure, error.message, error.retryable);
        salt_returner_redis_error_free(&error);
    }
    salt_returner_redis_list_list_bytes_free(&commands);
    free(pipeline.places);
    return stored;
}
