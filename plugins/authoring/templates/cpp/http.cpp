// {{name}}: posts each batch of returns to a web hook, as a JSON array.

#include <optional>
#include <string>

#include <strings.h>

#include "salt.h"

const char *const salt_name = "{{name}}";
const char *const salt_version = "0.1.0";
const char *const salt_options[] = {"url", nullptr};

static std::optional<std::string> url(salt_failure *failure) {
    salt_string name = salt_literal("url"), value;
    if (salt_returner_config_get(&name, &value)) {
        return salt_take(value);
    }
    salt_fail(failure, salt_literal("the option `url` is missing: add `{{name}}.options: {url: \"https://...\"}` to the "
                                    "configuration"), false);
    return std::nullopt;
}

bool setup(salt_failure *failure) {
    return url(failure).has_value();
}

static std::string json(const salt_item &item) {
    return "{\"key\":" + salt_quoted(item.key) + ",\"jid\":" + salt_quoted(item.jid) + ",\"minion\":" + salt_quoted(item.minion) +
           ",\"fun\":" + salt_quoted(item.fun) + ",\"success\":" + (item.success ? "true" : "false") + "}";
}

// The same for the same returns: their keys, each 32 hexadecimal digits, in one.
static std::string idempotency_key(const salt_batch &batch) {
    std::string digits;
    for (size_t place = 0; place < 32; place++) {
        int together = 0;
        for (size_t i = 0; i < batch.len; i++) {
            uint8_t digit = batch.ptr[i].key.ptr[place];
            together ^= digit <= '9' ? digit - '0' : digit - 'a' + 10;
        }
        digits += "0123456789abcdef"[together & 15];
    }
    return digits;
}

// `Retry-After` in milliseconds, where it says seconds and not a date; 0 without it.
static uint32_t retry_after(const salt_returner_http_response_t &answer) {
    for (size_t i = 0; i < answer.headers.len; i++) {
        std::string name = salt_copy(answer.headers.ptr[i].f0), value = salt_copy(answer.headers.ptr[i].f1);
        bool is_number = !value.empty() && value.size() <= 6 && value.find_first_not_of("0123456789") == std::string::npos;
        if (strcasecmp(name.c_str(), "retry-after") == 0 && is_number) {
            return std::stoul(value) * 1000;
        }
    }
    return 0;
}

// What the hook's answer means. By 400, 413 and 422 the items are to blame; a hook that is busy, and an address or a
// token that is wrong, can be mended.
static bool judge(const salt_returner_http_response_t &answer, salt_failure *failure) {
    unsigned status = answer.status;
    if (status >= 200 && status < 300) {
        return true;
    }
    std::string message = "the web hook answered " + std::to_string(status);
    bool later = status != 400 && status != 413 && status != 422;
    salt_fail(failure, salt_view(message), later);
    if (uint32_t after = retry_after(answer); later && after > 0) {
        failure->val.retry.after = {true, after};
    }
    return false;
}

// True only after the hook has said yes. What is tried again comes in the same call, or in parts of it.
bool store(const salt_batch *batch, salt_refusals *, salt_failure *failure) {
    if (batch->len == 0) {
        return true;
    }
    std::optional<std::string> to = url(failure);
    if (!to) {
        return false;
    }
    std::string body = "[" + json(batch->ptr[0]), digits = idempotency_key(*batch);
    for (size_t i = 1; i < batch->len; i++) {
        body += "," + json(batch->ptr[i]);
    }
    body += "]";
    salt_string bytes = salt_view(body);
    bindings_tuple2_string_string_t headers[] = {
        {salt_literal("Content-Type"), salt_literal("application/json")},
        {salt_literal("Idempotency-Key"), salt_view(digits)},
    };
    salt_returner_http_request_t request = {salt_literal("POST"), salt_view(*to), {headers, 2}, {bytes.ptr, bytes.len}};
    salt_returner_http_response_t answer;
    salt_returner_http_error_t error;
    if (!salt_returner_http_send(&request, &answer, &error)) {
        salt_fail(failure, error.message, error.retryable);
        salt_returner_http_error_free(&error);
        return false;
    }
    bool stored = judge(answer, failure);
    salt_returner_http_response_free(&answer);
    return stored;
}
