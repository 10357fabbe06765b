// {{name}}: keeps a document for each return in the collection `{{snake}}`.
package main

import (
	"encoding/json"

	"returner/salt"
)

func init() {
	salt.Export(salt.Returner{Name: "{{name}}", Version: "0.1.0", Store: store})
}

type document map[string]any

// Key is the same however often a return is delivered, so that the second time changes nothing.
func store(batch []salt.Item) ([]salt.Refusal, error) {
	if len(batch) == 0 {
		return nil, nil
	}
	updates := make([]salt.Update, 0, len(batch))
	for _, item := range batch {
		filter, err := json.Marshal(document{"_id": item.Key})
		if err != nil {
			return nil, err
		}
		set := document{"jid": item.Jid, "minion": item.Minion, "fun": item.Fun, "success": item.Success}
		change, err := json.Marshal(document{"$set": set})
		if err != nil {
			return nil, err
		}
		updates = append(updates, salt.Update{Filter: string(filter), Change: string(change), Upsert: true})
	}
	// An error: nothing is stored, and what the host is to do about it. What the server refuses of single documents
	// comes as refusals.
	return salt.UpdateMany("db", "{{snake}}", updates)
}
