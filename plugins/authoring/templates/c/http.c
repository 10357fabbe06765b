// {{name}}: posts each batch of returns to a web hook, as a JSON array.

#include <stdio.h>
#include <strings.h>

#include "salt.h"

const char *const salt_name = "{{name}}";
const char *const salt_version = "0.1.0";
const char *const salt_options[] = {"url", NULL};

static bool url(salt_string *value, salt_failure *failure) {
    salt_string name = salt_literal("url");
    if (salt_returner_config_get(&name, value)) {
        return true;
    }
    return salt_fail(failure, salt_literal("the option `url` is missing: add `{{name}}.options: {url: \"https://...\"}` "
                                           "to the configuration"), false);
}

bool setup(salt_failure *failure) {
    salt_string value;
    if (!url(&value, failure)) {
        return false;
    }
    bindings_string_free(&value);
    return true;
}

// The same for the same returns: their keys, each 32 hexadecimal digits, in one.
static void idempotency_key(const salt_batch *batch, char digits[32]) {
    for (size_t place = 0; place < 32; place++) {
        int together = 0;
        for (size_t i = 0; i < batch->len; i++) {
            uint8_t digit = batch->ptr[i].key.ptr[place];
            together ^= digit <= '9' ? digit - '0' : digit - 'a' + 10;
        }
        digits[place] = "0123456789abcdef"[together & 15];
    }
}

// `Retry-After` in milliseconds, where it says seconds and not a date; 0 without it.
static uint32_t retry_after(const salt_returner_http_response_t *answer) {
    for (size_t i = 0; i < answer->headers.len; i++) {
        salt_string name = answer->headers.ptr[i].f0, value = answer->headers.ptr[i].f1;
        if (name.len != 11 || strncasecmp((const char *)name.ptr, "retry-after", 11) != 0 || value.len > 6) {
            continue;
        }
        uint32_t seconds = 0;
        for (size_t j = 0; j < value.len; j++) {
            if (value.ptr[j] < '0' || value.ptr[j] > '9') {
                return 0;
            }
            seconds = 10 * seconds + (value.ptr[j] - '0');
        }
        return seconds * 1000;
    }
    return 0;
}

// What the hook's answer means. By 400, 413 and 422 the items are to blame; a hook that is busy, and an address or a
// token that is wrong, can be mended.
static bool judge(const salt_returner_http_response_t *answer, salt_failure *failure) {
    unsigned status = answer->status;
    if (status >= 200 && status < 300) {
        return true;
    }
    char message[40];
    snprintf(message, sizeof message, "the web hook answered %u", status);
    bool later = status != 400 && status != 413 && status != 422;
    salt_fail(failure, salt_literal(message), later);
    if (later && retry_after(answer) > 0) {
        failure->val.retry.after.is_some = true;
        failure->val.retry.after.val = retry_after(answer);
    }
    return false;
}

static void put_item(salt_text *body, const salt_item *item) {
    salt_put(body, "{\"key\":");
    salt_json(body, item->key);
    salt_put(body, ",\"jid\":");
    salt_json(body, item->jid);
    salt_put(body, ",\"minion\":");
    salt_json(body, item->minion);
    salt_put(body, ",\"fun\":");
    salt_json(body, item->fun);
    salt_put(body, item->success ? ",\"success\":true}" : ",\"success\":false}");
}

// True only after the hook has said yes. What is tried again comes in the same call, or in parts of it.
bool store(const salt_batch *batch, salt_refusals *refusals, salt_failure *failure) {
    (void)refusals; // for items that are not stored while others are: salt_refuse(refusals, ...)
    salt_string to;
    if (batch->len == 0) {
        return true;
    }
    if (!url(&to, failure)) {
        return false;
    }
    salt_text body = {0};
    for (size_t i = 0; i < batch->len; i++) {
        salt_put(&body, i == 0 ? "[" : ",");
        put_item(&body, &batch->ptr[i]);
    }
    salt_put(&body, "]");
    char digits[32];
    idempotency_key(batch, digits);
    bindings_tuple2_string_string_t headers[] = {
        {salt_literal("Content-Type"), salt_literal("application/json")},
        {salt_literal("Idempotency-Key"), {(uint8_t *)digits, sizeof digits}},
    };
    salt_returner_http_request_t request = {salt_literal("POST"), to, {headers, 2}, {body.ptr, body.len}};
    salt_returner_http_response_t answer;
    salt_returner_http_error_t error;
    bool stored = false;
    if (salt_returner_http_send(&request, &answer, &error)) {
        stored = judge(&answer, failure);
        salt_returner_http_response_free(&answer);
    } else {
        salt_fail(failure, error.message, error.retryable);
        salt_returner_http_error_free(&error);
    }
    free(body.ptr);
    bindings_string_free(&to);
    return stored;
}
