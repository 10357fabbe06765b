#include "salt.h"

#include <stdio.h>

// ---- What the host calls.

void exports_salt_returner_about_describe(exports_salt_returner_about_description_t *description) {
    bindings_string_dup(&description->name, salt_name);
    bindings_string_dup(&description->version, salt_version);
    bindings_list_string_t *options = &description->options;
    for (options->len = 0; salt_options[options->len] != NULL; options->len++) {
    }
    options->ptr = salt_room(options->len, sizeof *options->ptr);
    for (size_t i = 0; i < options->len; i++) {
        bindings_string_dup(&options->ptr[i], salt_options[i]);
    }
}

bool exports_salt_returner_lifecycle_setup(salt_failure *failure) {
    return setup(failure);
}

bool exports_salt_returner_returns_store(salt_batch *batch, salt_refusals *refusals, salt_failure *failure) {
    *refusals = (salt_refusals){NULL, 0};
    bool stored = store(batch, refusals, failure);
    exports_salt_returner_returns_list_job_return_free(batch);
    if (!stored) {
        exports_salt_returner_returns_list_refusal_free(refusals);
    }
    return stored;
}

// ---- What the returner calls.

bool salt_fail(salt_failure *failure, salt_string message, bool retryable) {
    salt_string copy;
    bindings_string_dup_n(&copy, (const char *)message.ptr, message.len);
    memset(failure, 0, sizeof *failure);
    if (retryable) {
        failure->tag = SALT_RETURNER_TYPES_FAILURE_RETRY;
        failure->val.retry.message = copy;
    } else {
        failure->tag = SALT_RETURNER_TYPES_FAILURE_REJECT;
        failure->val.reject = copy;
    }
    return false;
}

void salt_refuse(salt_refusals *refusals, size_t index, salt_string message, bool retryable) {
    size_t len = refusals->len;
    // Full at each power of two.
    if ((len & (len - 1)) == 0) {
        void *more = realloc(refusals->ptr, (len == 0 ? 1 : 2 * len) * sizeof *refusals->ptr);
        if (more == NULL) {
            abort();
        }
        refusals->ptr = more;
    }
    refusals->ptr[len].index = (uint32_t)index;
    salt_fail(&refusals->ptr[len].failure, message, retryable);
    refusals->len++;
}

void *salt_room(size_t count, size_t size) {
    void *room = calloc(count == 0 ? 1 : count, size);
    if (room == NULL) {
        abort();
    }
    return room;
}

void salt_add(salt_text *text, const void *bytes, size_t len) {
    if (len == 0) {
        return;
    }
    if (text->room - text->len < len) {
        text->room = 2 * text->room + len;
        text->ptr = realloc(text->ptr, text->room);
        if (text->ptr == NULL) {
            abort();
        }
    }
    memcpy(text->ptr + text->len, bytes, len);
    text->len += len;
}

void salt_put(salt_text *text, const char *literal) {
    salt_add(text, literal, strlen(literal));
}

void salt_json(salt_text *text, salt_string string) {
    salt_put(text, "\"");
    for (size_t i = 0; i < string.len; i++) {
        uint8_t byte = string.ptr[i];
        if (byte == '"' || byte == '\\') {
            salt_put(text, "\\");
        }
        if (byte < 0x20) {
            char escaped[7];
            snprintf(escaped, sizeof escaped, "\\u%04x", byte);
            salt_put(text, escaped);
        } else {
            salt_add(text, &byte, 1);
        }
    }
    salt_put(text, "\"");
}
