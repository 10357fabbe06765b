// {{name}}: counts runs and failures by minion in Redis. `PFCOUNT {{name}}:failures:web1` tells.

#include <deque>
#include <string>
#include <vector>

#include "salt.h"

const char *const salt_name = "{{name}}";
const char *const salt_version = "0.1.0";
const char *const salt_options[] = {nullptr};

bool setup(salt_failure *) {
    return true; // Redis needs nothing to be created
}

using Words = std::vector<salt_returner_redis_bytes_t>;

// What is sent, and whose return each command is for.
struct Pipeline {
    std::deque<std::string> texts; // what the words point to: a deque leaves them where they are
    std::deque<Words> words;
    std::vector<salt_returner_redis_list_bytes_t> commands;
    std::vector<size_t> places;

    void add(size_t place, std::initializer_list<std::string> command) {
        Words &all = words.emplace_back();
        for (const std::string &word : command) {
            salt_string text = salt_view(texts.emplace_back(word));
            all.push_back({text.ptr, text.len});
        }
        commands.push_back({all.data(), all.size()});
        places.push_back(place);
    }
};

// One command's error is a reply. A return is refused once, whatever became of its other command.
static void refuse(const Pipeline &sent, const salt_returner_redis_list_reply_t &replies, salt_refusals *refusals) {
    for (size_t i = 0; i < replies.len && i < sent.places.size(); i++) {
        const salt_returner_redis_reply_t &reply = replies.ptr[i];
        bool is_error = reply.tag == SALT_RETURNER_REDIS_REPLY_SCALAR && reply.val.scalar.tag == SALT_RETURNER_REDIS_SCALAR_ERROR;
        if (is_error && (refusals->len == 0 || refusals->ptr[refusals->len - 1].index != sent.places[i])) {
            salt_refuse(refusals, sent.places[i], reply.val.scalar.val.error.message, reply.val.scalar.val.error.retryable);
        }
    }
}

bool store(const salt_batch *batch, salt_refusals *refusals, salt_failure *failure) {
    if (batch->len == 0) {
        return true;
    }
    Pipeline pipeline;
    for (size_t place = 0; place < batch->len; place++) {
        const salt_item &item = batch->ptr[place];
        // PFADD counts a key once, so that a return that is delivered twice changes nothing.
        pipeline.add(place, {"PFADD", "{{name}}:runs:" + salt_copy(item.minion), salt_copy(item.key)});
        if (!item.success) {
            pipeline.add(place, {"PFADD", "{{name}}:failures:" + salt_copy(item.minion), salt_copy(item.key)});
        }
    }
    salt_string db = salt_literal("db"); // what the configuration calls the server, in `{{name}}.connections`
    salt_returner_redis_list_list_bytes_t commands = {pipeline.commands.data(), pipeline.commands.size()};
    salt_returner_redis_list_reply_t replies;
    salt_returner_redis_error_t error;
    if (!salt_returner_redis_pipeline(&db, &commands, &replies, &error)) {
        salt_fail(failure, error.message, error.retryable);
        salt_returner_redis_error_free(&error);
        return false;
    }
    refuse(pipeline, replies, refusals);
    salt_returner_redis_list_reply_free(&replies);
    return true;
}
