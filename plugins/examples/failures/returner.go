// failures: a row in the table `failures` for each state that failed, and nothing else.
package main

import (
	"encoding/json"
	"slices"
	"strings"

	"returner/salt"
)

const (
	db      = "db"
	maxRows = 100 // of one statement: databases limit its parameters
)

func init() {
	salt.Export(salt.Returner{Name: "failures", Version: "0.1.0", Setup: setup, Store: store})
}

func setup() error {
	_, err := salt.Execute(db, "CREATE TABLE IF NOT EXISTS failures (item_key varchar(32), number integer, "+
		"jid varchar(255), minion varchar(255), sls varchar(255), state text, name text, comment text, "+
		"PRIMARY KEY (item_key, number))", nil)
	return err
}

// What Salt says of one state of a run.
type outcome struct {
	Result  *bool  `json:"result"`
	Comment any    `json:"comment"`
	Name    any    `json:"name"` // a number, where the state is called by one
	ID      any    `json:"__id__"`
	SLS     string `json:"__sls__"`
	Number  int64  `json:"__run_num__"`
}

func store(batch []salt.Item) ([]salt.Refusal, error) {
	var again []salt.Value
	var rows [][]salt.Value
	for _, item := range batch {
		// Of these an earlier delivery may have been stored; Key is the same each time.
		if item.Redelivered {
			again = append(again, salt.Text(item.Key))
		}
		for number, failed := range failures(item) {
			rows = append(rows, []salt.Value{
				salt.Text(item.Key), salt.Integer(int64(number)), salt.Text(item.Jid), salt.Text(item.Minion),
				salt.Text(failed.SLS), salt.Text(text(failed.ID)), salt.Text(text(failed.Name)), salt.Text(text(failed.Comment)),
			})
		}
	}
	for keys := range slices.Chunk(again, maxRows) {
		statement := "DELETE FROM failures WHERE item_key IN (" + list("?", len(keys)) + ")"
		if _, err := salt.Execute(db, statement, keys); err != nil {
			return nil, err
		}
	}
	for part := range slices.Chunk(rows, maxRows) {
		statement := "INSERT INTO failures (item_key, number, jid, minion, sls, state, name, comment) VALUES " +
			list("("+list("?", 8)+")", len(part))
		if _, err := salt.Execute(db, statement, slices.Concat(part...)); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// The states that failed. Of a compound job, each function's value stands under its name.
func failures(item salt.Item) []outcome {
	functions, values := strings.Split(item.Fun, ","), map[string]json.RawMessage{}
	if len(functions) == 1 {
		values[item.Fun] = json.RawMessage(item.Value)
	} else {
		_ = json.Unmarshal([]byte(item.Value), &values) // anything else has no values
	}
	var failed []outcome
	for _, function := range functions {
		if strings.HasPrefix(function, "state.") {
			failed = append(failed, ofRun(string(values[function]))...)
		}
	}
	return failed
}

// Those of one run, in their order. A run that could not begin gives texts in place of states.
func ofRun(value string) []outcome {
	var problems []string
	if json.Unmarshal([]byte(value), &problems) == nil && len(problems) > 0 {
		return []outcome{{Comment: strings.Join(problems, "\n")}}
	}
	states := map[string]json.RawMessage{}
	_ = json.Unmarshal([]byte(value), &states) // anything else has no states
	var failed []outcome
	for _, raw := range states {
		var state outcome
		if json.Unmarshal(raw, &state) == nil && state.Result != nil && !*state.Result {
			failed = append(failed, state)
		}
	}
	slices.SortFunc(failed, func(a, b outcome) int {
		if a.Number != b.Number {
			return int(a.Number - b.Number)
		}
		return strings.Compare(text(a.ID)+text(a.Name), text(b.ID)+text(b.Name))
	})
	return failed
}

// A comment is a text, or a list of them; of a run that could not begin, the rest is missing.
func text(value any) string {
	if value == nil {
		return ""
	}
	if text, ok := value.(string); ok {
		return text
	}
	written, _ := json.Marshal(value) // it was JSON just now
	return string(written)
}

func list(one string, count int) string {
	return strings.Repeat(one+", ", count-1) + one
}
