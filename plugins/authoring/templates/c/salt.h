// What makes the bindings short to use: three things and two functions to define, and some to call.
#ifndef SALT_H
#define SALT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "bindings/bindings.h"

#ifdef __cplusplus
extern "C" {
#endif

// A text is `ptr` and `len`, in UTF-8. No zero ends it, and it may hold zeros.
typedef bindings_string_t salt_string;
// One return: `jid`, `minion`, `fun`, `success`, ...; bindings/bindings.h says what each is.
typedef salt_returner_types_job_return_t salt_item;
typedef exports_salt_returner_returns_list_job_return_t salt_batch;
typedef exports_salt_returner_returns_list_refusal_t salt_refusals;
typedef salt_returner_types_failure_t salt_failure;

// ---- To be defined in the returner.

extern const char *const salt_name;
extern const char *const salt_version;
// The options that it knows, and NULL; the host refuses a configuration with another one.
extern const char *const salt_options[];

// Runs before anything is stored, and again after each reload and while storing fails.
bool setup(salt_failure *failure);

// Stores a batch, oldest first. True: all of it is stored but what was refused. False: none of it is, and `failure`
// says why. What it is given is freed afterwards.
bool store(const salt_batch *batch, salt_refusals *refusals, salt_failure *failure);

// ---- To be called.

// Says why nothing was stored: the host tries again later, or sets the returns aside as what will never be stored.
// Gives false, so that `return salt_fail(...)` is enough. Copies the message.
bool salt_fail(salt_failure *failure, salt_string message, bool retryable);

// Says that one item of the batch was not stored, once for each. Copies the message.
void salt_refuse(salt_refusals *refusals, size_t index, salt_string message, bool retryable);

// Zeroed memory, for `free`. There is no more than the configuration's `limits.memory`: without any, it traps.
void *salt_room(size_t count, size_t size);

// A text that grows. It begins as `{0}`; free its `ptr`.
typedef struct {
    uint8_t *ptr;
    size_t len, room;
} salt_text;

void salt_add(salt_text *text, const void *bytes, size_t len);
void salt_put(salt_text *text, const char *literal);
// As a JSON string, with its quotes.
void salt_json(salt_text *text, salt_string string);

// The text of a literal, or of one that grew; nothing is copied.
static inline salt_string salt_literal(const char *literal) {
    salt_string string = {(uint8_t *)literal, strlen(literal)};
    return string;
}

static inline salt_string salt_whole(const salt_text *text) {
    salt_string string = {text->ptr, text->len};
    return string;
}

#ifdef __cplusplus
}

#include <string>

// The text of a string, as long as that stays as it is; nothing is copied.
static inline salt_string salt_view(const std::string &text) {
    return {(uint8_t *)text.data(), text.size()};
}

// A copy of what the host has handed over.
static inline std::string salt_copy(salt_string text) {
    return std::string((const char *)text.ptr, text.len);
}

// The same of what is the returner's to free, such as an option's value, and frees it.
static inline std::string salt_take(salt_string text) {
    std::string copy = salt_copy(text);
    bindings_string_free(&text);
    return copy;
}

// As a JSON string, with its quotes.
static inline std::string salt_quoted(salt_string text) {
    salt_text quoted = {};
    salt_json(&quoted, text);
    std::string copy = salt_copy(salt_whole(&quoted));
    free(quoted.ptr);
    return copy;
}
#endif
#endif
