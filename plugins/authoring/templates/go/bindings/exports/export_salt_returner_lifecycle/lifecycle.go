// Package export_salt_returner_lifecycle prepares what the returner needs.
package export_salt_returner_lifecycle

import (
	witTypes "go.bytecodealliance.org/pkg/wit/types"
	"returner/bindings/imports/salt_returner_types"
	"returner/salt"
)

func Setup() witTypes.Result[witTypes.Unit, salt_returner_types.Failure] {
	return salt.CallSetup()
}
