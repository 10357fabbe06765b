// {{name}}: counts runs and failures by minion in Redis. `PFCOUNT {{name}}:failures:web1` tells.
package main

import "returner/salt"

func init() {
	salt.Export(salt.Returner{Name: "{{name}}", Version: "0.1.0", Store: store})
}

// PFADD counts a key once, so that a return that is delivered twice changes nothing.
func store(batch []salt.Item) ([]salt.Refusal, error) {
	var commands [][]string
	var places []int // whose return each command is for
	count := func(counter string, place int) {
		item := batch[place]
		commands = append(commands, []string{"PFADD", "{{name}}:" + counter + ":" + item.Minion, item.Key})
		places = append(places, place)
	}
	for place, item := range batch {
		count("runs", place)
		if !item.Success {
			count("failures", place)
		}
	}
	if len(commands) == 0 {
		return nil, nil
	}
	// An error: no reply at all, and what the host is to do about it. One command's error is a reply.
	replies, err := salt.Pipeline("db", commands)
	var refusals []salt.Refusal
	for i, reply := range replies {
		failure := salt.ReplyError(reply)
		// A return is refused once, whatever became of its other command.
		isNew := len(refusals) == 0 || refusals[len(refusals)-1].Index != places[i]
		if failure != nil && isNew {
			refusals = append(refusals, salt.Refusal{Index: places[i], Err: failure})
		}
	}
	return refusals, err
}
