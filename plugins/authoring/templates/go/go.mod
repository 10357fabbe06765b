module returner

// Also the toolchain: an older Go, from 1.21 on, fetches it.
go 1.27.1

require go.bytecodealliance.org/pkg v0.4.0

// What the bindings import; Go's module proxy does not have it.
replace go.bytecodealliance.org/pkg => ./bindings/pkg
