// Package salt is the contract of the host `returner`, with Go's errors in place of results.
package salt

import (
	"runtime"
	"runtime/debug"

	witTypes "go.bytecodealliance.org/pkg/wit/types"
	"returner/bindings/imports/salt_returner_about"
	"returner/bindings/imports/salt_returner_types"
)

// Item is one minion's answer to one job.
type Item = salt_returner_types.JobReturn

// Returner is what a component is and does.
type Returner struct {
	Name    string
	Version string
	// The options that it reads with Option; the host refuses a configuration with another one.
	Options []string
	// Runs before anything is stored, and again after each reload and while storing fails. May be nil.
	Setup func() error
	// Stores a batch, oldest first. Nil says that all of it is stored, Refusals that all of it is but the items
	// named, an error that none of it is.
	Store func(batch []Item) ([]Refusal, error)
}

// Refusal is one item of a batch that was not stored, and why.
type Refusal struct {
	Index int
	Err   error
}

var exported Returner

// Export makes a returner the component's; called once, in `init`.
func Export(returner Returner) {
	exported = returner
}

// Go's collector asks for the time, which nobody may do while the host hands a list over: that traps. So it is off, and
// runs at the end of a call when there is enough to collect.
func init() {
	debug.SetGCPercent(-1)
}

const enough = 32 << 20

func collect() {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	if stats.HeapAlloc > enough {
		runtime.GC()
	}
}

// Describe is called by the host.
func Describe() salt_returner_about.Description {
	return salt_returner_about.Description{Name: exported.Name, Version: exported.Version, Options: exported.Options}
}

// CallSetup is called by the host.
func CallSetup() witTypes.Result[witTypes.Unit, salt_returner_types.Failure] {
	defer collect()
	if exported.Setup != nil {
		if err := exported.Setup(); err != nil {
			return witTypes.Err[witTypes.Unit](failureOf(err))
		}
	}
	return witTypes.Ok[witTypes.Unit, salt_returner_types.Failure](witTypes.Unit{})
}

// CallStore is called by the host.
func CallStore(batch []Item) witTypes.Result[[]salt_returner_types.Refusal, salt_returner_types.Failure] {
	defer collect()
	refused, err := exported.Store(batch)
	if err != nil {
		return witTypes.Err[[]salt_returner_types.Refusal](failureOf(err))
	}
	refusals := make([]salt_returner_types.Refusal, 0, len(refused))
	for _, one := range refused {
		refusals = append(refusals, salt_returner_types.Refusal{Index: uint32(one.Index), Failure: failureOf(one.Err)})
	}
	return witTypes.Ok[[]salt_returner_types.Refusal, salt_returner_types.Failure](refusals)
}
