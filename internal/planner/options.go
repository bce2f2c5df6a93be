package planner

import (
	"fmt"

	"github.com/cairnbuild/cairn/dockerfile"
	"github.com/cairnbuild/cairn/oci"
)

// Options are what a plan depends on beside the Dockerfile. They are only read.
type Options struct {
	// Target is the name or the number of the stage to build; empty for the last one.
	Target string
	// Platform is what the image is for. Requested says that somebody asked for it, so that the image's config says it
	// as well, whatever the base image says.
	Platform  oci.Platform
	Requested bool
	// Several says that this is one plan of several platforms', so that the names of steps tell them apart.
	Several bool
	// Args are the build arguments, Labels those that are added to the target's.
	Args   map[string]string
	Labels map[string]string
	// Contexts are the named ones.
	Contexts Contexts
	// NoCache, and NoCacheFilter for the stages with these names or numbers, say that no recorded result may be used.
	NoCache       bool
	NoCacheFilter []string
	Run           RunOptions
	Limits        Limits
}

// RunOptions are what the command line says about all RUN steps.
type RunOptions struct {
	// Network is that of a RUN which doesn't name one; empty for the default.
	Network dockerfile.Network
	// Hosts are lines for /etc/hosts, each NAME:IP.
	Hosts []string
	Allow []Entitlement
}

// NetworkPrivate is a network beside those of the language: one of the build's own, with a way out.
const NetworkPrivate dockerfile.Network = "private"

// ParseNetwork reads a network as the command line names it; empty is the default.
func ParseNetwork(s string) (dockerfile.Network, error) {
	switch n := dockerfile.Network(s); n {
	case "", dockerfile.NetworkDefault, dockerfile.NetworkHost, NetworkPrivate, dockerfile.NetworkNone:
		return n, nil
	}
	return "", fmt.Errorf("default, host, private or none, not %q", s)
}

// Entitlement is something dangerous that a Dockerfile may only do when it is allowed to.
type Entitlement string

// The entitlements.
const (
	// AllowNetworkHost is needed for RUN --network=host where the command line asks for another network.
	AllowNetworkHost Entitlement = "network.host"
	// AllowInsecure is needed for RUN --security=insecure.
	AllowInsecure Entitlement = "security.insecure"
)

// ParseEntitlement reads a value of --allow.
func ParseEntitlement(s string) (Entitlement, error) {
	switch e := Entitlement(s); e {
	case AllowNetworkHost, AllowInsecure:
		return e, nil
	}
	return "", fmt.Errorf("%s and %s, not %q", AllowNetworkHost, AllowInsecure, s)
}
