// {{name}}: a row for each return in the table `{{snake}}`.
package main

import (
	"slices"
	"strings"

	"returner/salt"
)

const (
	db      = "db" // what the configuration calls the database, in `{{name}}.connections`
	maxRows = 500  // of one statement: databases limit its parameters
)

func init() {
	salt.Export(salt.Returner{Name: "{{name}}", Version: "0.1.0", Options: []string{"severity"}, Setup: setup, Store: store})
}

// Runs before anything is stored, and again after each reload and while storing fails.
func setup() error {
	_, err := salt.Execute(db, "CREATE TABLE IF NOT EXISTS {{snake}} (item_key varchar(32) PRIMARY KEY, "+
		"jid varchar(255), minion varchar(255), fun varchar(255), severity varchar(32))", nil)
	return err
}

// All statements of one call are one transaction: nil commits it, an error undoes it. Those of package salt say
// whether the host is to try again later, or to set the returns aside as what will never be stored.
func store(batch []salt.Item) ([]salt.Refusal, error) {
	usual, isSet := salt.Option("severity")
	if !isSet {
		usual = "info"
	}
	for items := range slices.Chunk(batch, maxRows) {
		if err := storeRows(items, usual); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

func storeRows(items []salt.Item, usual string) error {
	// Of these an earlier delivery may have been stored; Key is the same each time.
	var again []salt.Value
	var values []salt.Value
	for _, item := range items {
		if item.Redelivered {
			again = append(again, salt.Text(item.Key))
		}
		severity := "error"
		if item.Success {
			severity = usual
		}
		for _, text := range []string{item.Key, item.Jid, item.Minion, item.Fun, severity} {
			values = append(values, salt.Text(text))
		}
	}
	if len(again) > 0 {
		statement := "DELETE FROM {{snake}} WHERE item_key IN (" + list("?", len(again)) + ")"
		if _, err := salt.Execute(db, statement, again); err != nil {
			return err
		}
	}
	statement := "INSERT INTO {{snake}} (item_key, jid, minion, fun, severity) VALUES " + list("(?, ?, ?, ?, ?)", len(items))
	_, err := salt.Execute(db, statement, values)
	return err
}

func list(one string, count int) string {
	return strings.Repeat(one+", ", count-1) + one
}
