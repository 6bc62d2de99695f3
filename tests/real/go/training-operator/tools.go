//go:build tools

// Package tools pins the training operator, which is built from its own package.
package tools

import _ "github.com/kubeflow/training-operator/cmd/training-operator.v1"
