package salt

import (
	"errors"
	"time"

	witTypes "go.bytecodealliance.org/pkg/wit/types"
	"returner/bindings/imports/salt_returner_types"
)

// Failure is an error that says whether trying again can help. Every other error is taken for one that it cannot.
type Failure struct {
	Message string
	// The host tries again later, and sets the item aside otherwise, where an operator can look at it.
	Retry bool
	// How long it waits at least; 0 leaves that to the host.
	After time.Duration
}

func (failure *Failure) Error() string {
	return failure.Message
}

// Retry is for what can be stored later: the server is away, or busy.
func Retry(message string) error {
	return &Failure{Message: message, Retry: true}
}

// Reject is for what will never be stored.
func Reject(message string) error {
	return &Failure{Message: message}
}

func failureOf(err error) salt_returner_types.Failure {
	var failure *Failure
	if !errors.As(err, &failure) || !failure.Retry {
		return salt_returner_types.MakeFailureReject(err.Error())
	}
	after := witTypes.None[uint32]()
	if failure.After > 0 {
		after = witTypes.Some(uint32(min(failure.After.Milliseconds(), 1<<32-1)))
	}
	return salt_returner_types.MakeFailureRetry(salt_returner_types.Retry{Message: err.Error(), After: after})
}

// What a call of the host gave, or the failure that its error means.
func result[T any, E any](answer witTypes.Result[T, E], failure func(E) *Failure) (T, error) {
	if answer.IsErr() {
		var none T
		return none, failure(answer.Err())
	}
	return answer.Ok(), nil
}
