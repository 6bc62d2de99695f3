//go:build tools

// Package tools pins the MPI operator, which is built from its own package.
package tools

import _ "github.com/kubeflow/mpi-operator/cmd/mpi-operator"
