//go:build tools

// Package tools only keeps the program to build in go.mod.
package tools

import _ "cunicu.li/go-rosenpass/cmd"
