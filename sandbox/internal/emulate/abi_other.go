//go:build !amd64 && !arm64

package emulate

const nativeAudit = 0

// abis is empty: a sandbox with one id is then one without emulation.
func abis() []abi { return nil }
