//go:build !amd64 && !arm64

package profile

// Docker is empty: there are no tables for this architecture.
func Docker() []ABI { return nil }
