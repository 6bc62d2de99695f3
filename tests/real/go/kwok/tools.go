//go:build tools

// Package tools pins KWOK, which is built from its own package.
package tools

import _ "sigs.k8s.io/kwok/cmd/kwok"
