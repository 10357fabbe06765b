// {{name}}: posts each batch of returns to a web hook, as a JSON array.
//
// Requests go by salt.Send: Go's own net and net/http build for WebAssembly, and have no sockets there.
package main

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"returner/salt"
)

func init() {
	salt.Export(salt.Returner{Name: "{{name}}", Version: "0.1.0", Options: []string{"url"}, Setup: setup, Store: store})
}

type body struct {
	Key     string `json:"key"`
	Jid     string `json:"jid"`
	Minion  string `json:"minion"`
	Fun     string `json:"fun"`
	Success bool   `json:"success"`
}

// Runs before anything is stored, and again after each reload and while storing fails.
func setup() error {
	_, err := url()
	return err
}

func url() (string, error) {
	value, isSet := salt.Option("url")
	if !isSet {
		return "", salt.Reject("the option `url` is missing: add `{{name}}.options: {url: \"https://...\"}` to the configuration")
	}
	return value, nil
}

// It answers nil only after the hook has said yes. What is tried again comes in the same call, or in parts of it.
func store(batch []salt.Item) ([]salt.Refusal, error) {
	if len(batch) == 0 {
		return nil, nil
	}
	to, err := url()
	if err != nil {
		return nil, err
	}
	items := make([]body, 0, len(batch))
	for _, item := range batch {
		items = append(items, body{item.Key, item.Jid, item.Minion, item.Fun, item.Success})
	}
	text, err := json.Marshal(items)
	if err != nil {
		return nil, err
	}
	headers := []salt.Header{
		{F0: "Content-Type", F1: "application/json"},
		{F0: "Idempotency-Key", F1: idempotencyKey(batch)},
	}
	answer, err := salt.Send(salt.Request{Method: "POST", Url: to, Headers: headers, Body: text})
	if err != nil {
		return nil, err
	}
	failure := salt.Failure{Message: fmt.Sprintf("the web hook answered %d", answer.Status)}
	switch status := answer.Status; {
	case status >= 200 && status < 300:
		return nil, nil
	case status == 400, status == 413, status == 422: // the items are to blame
		return nil, &failure
	}
	// A hook that is busy, and an address or a token that is wrong, can be mended.
	failure.Retry = true
	failure.After = retryAfter(answer.Headers)
	return nil, &failure
}

// The same for the same returns: their keys, each 128 bits, in one.
func idempotencyKey(batch []salt.Item) string {
	var together [16]byte
	for _, item := range batch {
		key, _ := hex.DecodeString(item.Key)
		for place := range min(len(key), len(together)) {
			together[place] ^= key[place]
		}
	}
	return hex.EncodeToString(together[:])
}

// `Retry-After`, where it says seconds and not a date.
func retryAfter(headers []salt.Header) time.Duration {
	for _, header := range headers {
		if strings.EqualFold(header.F0, "Retry-After") {
			seconds, _ := strconv.ParseUint(header.F1, 10, 20)
			return time.Duration(seconds) * time.Second
		}
	}
	return 0
}
