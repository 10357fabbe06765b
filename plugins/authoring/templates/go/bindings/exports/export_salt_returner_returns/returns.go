// Package export_salt_returner_returns stores returns.
package export_salt_returner_returns

import (
	witTypes "go.bytecodealliance.org/pkg/wit/types"
	"returner/bindings/imports/salt_returner_types"
	"returner/salt"
)

func Store(batch []salt_returner_types.JobReturn) witTypes.Result[[]salt_returner_types.Refusal, salt_returner_types.Failure] {
	return salt.CallStore(batch)
}
