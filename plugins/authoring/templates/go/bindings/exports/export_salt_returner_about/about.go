// Package export_salt_returner_about answers what the component is.
package export_salt_returner_about

import (
	"returner/bindings/imports/salt_returner_about"
	"returner/salt"
)

func Describe() salt_returner_about.Description {
	return salt.Describe()
}
