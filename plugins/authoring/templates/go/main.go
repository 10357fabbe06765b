package main

// What the host calls.
import _ "returner/bindings/exports/wit_exports"

// Never called: the component has no beginning and no end, only calls.
func main() {}
