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
	Name    string `json:"name"`
	ID      string `json:"__id__"`
	SLS     string `json:"__sls__"`
	Number  int64  `json:"__run_num__"`
}

func store(batch []salt.Item) ([]salt.Refusal, error) {
	var again []salt.Value
	var rows [][]salt.Value
	for _, item := range batch {
		if !strings.HasPrefix(item.Fun, "state.") {
			continue
		}
		// Of these an earlier delivery may have been stored; Key is the same each time.
		if item.Redelivered {
			again = append(again, salt.Text(item.Key))
		}
		for number, failed := range failures(item.Value) {
			rows = append(rows, []salt.Value{
				salt.Text(item.Key), salt.Integer(int64(number)), salt.Text(item.Jid), salt.Text(item.Minion),
				salt.Text(failed.SLS), salt.Text(failed.ID), salt.Text(failed.Name), salt.Text(text(failed.Comment)),
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

// The states that failed, in the order in which they ran. A run that could not begin gives texts in place of states.
func failures(value string) []outcome {
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
		return strings.Compare(a.ID+"\x00"+a.Name, b.ID+"\x00"+b.Name)
	})
	return failed
}

// A comment is a text, or a list of them.
func text(comment any) string {
	if text, ok := comment.(string); ok {
		return text
	}
	written, _ := json.Marshal(comment) // it was JSON just now
	return string(written)
}

func list(one string, count int) string {
	return strings.Repeat(one+", ", count-1) + one
}
