package salt

import (
	"fmt"

	witTypes "go.bytecodealliance.org/pkg/wit/types"
	"returner/bindings/imports/salt_returner_config"
	"returner/bindings/imports/salt_returner_http"
	"returner/bindings/imports/salt_returner_log"
	"returner/bindings/imports/salt_returner_mongo"
	"returner/bindings/imports/salt_returner_redis"
	"returner/bindings/imports/salt_returner_sql"
)

// Option is an option of the configuration, and whether it is there.
func Option(name string) (string, bool) {
	value := salt_returner_config.Get(name)
	return value.SomeOr(""), value.IsSome()
}

// Log writes a line into the host's log.
func Log(message string) {
	salt_returner_log.Write(salt_returner_log.Level_Info, message, nil)
}

// Value is a value of a row.
type Value = salt_returner_sql.Value

// Text is a value that is text.
func Text(text string) Value {
	return salt_returner_sql.MakeValueText(text)
}

// Integer is a value that is a number.
func Integer(number int64) Value {
	return salt_returner_sql.MakeValueInteger(number)
}

// Execute runs a statement with `?` for its values, and gives the number of rows that it changed.
func Execute(connection, statement string, values []Value) (uint64, error) {
	return result(salt_returner_sql.Execute(connection, statement, values), ofSQL)
}

// Query runs a query with `?` for its values.
func Query(connection, statement string, values []Value) (salt_returner_sql.Rows, error) {
	return result(salt_returner_sql.Query(connection, statement, values), ofSQL)
}

func ofSQL(err salt_returner_sql.Error) *Failure {
	return &Failure{Message: err.Message, Retry: err.Retryable}
}

// Header is one of a request or response.
type Header = witTypes.Tuple2[string, string]

// Request is what Send sends.
type Request = salt_returner_http.Request

// Response is what it is answered.
type Response = salt_returner_http.Response

// Send sends a request. Any status is an answer and no error.
func Send(request Request) (Response, error) {
	return result(salt_returner_http.Send(request), func(err salt_returner_http.Error) *Failure {
		return &Failure{Message: err.Message, Retry: err.Retryable}
	})
}

// Reply is what Redis answers to one command.
type Reply = salt_returner_redis.Reply

// Pipeline sends commands to Redis and gives a reply to each. That one failed is a reply: ReplyError.
func Pipeline(connection string, commands [][]string) ([]Reply, error) {
	all := make([][][]byte, 0, len(commands))
	for _, command := range commands {
		words := make([][]byte, 0, len(command))
		for _, word := range command {
			words = append(words, []byte(word))
		}
		all = append(all, words)
	}
	return result(salt_returner_redis.Pipeline(connection, all), ofRedis)
}

// ReplyError is the failure that a reply tells, or nil.
func ReplyError(reply Reply) error {
	if reply.Tag() == salt_returner_redis.Reply_Scalar && reply.Scalar().Tag() == salt_returner_redis.Scalar_Error {
		return ofRedis(reply.Scalar().Error())
	}
	return nil
}

func ofRedis(err salt_returner_redis.Error) *Failure {
	return &Failure{Message: err.Message, Retry: err.Retryable}
}

// Update is a change of one document in MongoDB; filter and change are JSON.
type Update = salt_returner_mongo.Update

// UpdateMany changes documents, and gives a Refusal for each update that the server refuses.
func UpdateMany(connection, collection string, updates []Update) ([]Refusal, error) {
	answer := salt_returner_mongo.UpdateMany(connection, collection, updates)
	errors, err := result(answer, func(err salt_returner_mongo.Error) *Failure {
		return &Failure{Message: err.Message, Retry: err.Retryable}
	})
	var refusals []Refusal
	for _, one := range errors {
		message := fmt.Sprintf("%s (%d)", one.Message, one.Code)
		refusals = append(refusals, Refusal{Index: int(one.Index), Err: Reject(message)})
	}
	return refusals, err
}
