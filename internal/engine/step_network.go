package engine

import (
	"context"
	"sync"

	"github.com/cairnbuild/cairn/dockerfile"
	"github.com/cairnbuild/cairn/internal/bundle"
	"github.com/cairnbuild/cairn/internal/planner"
	"github.com/cairnbuild/cairn/sandbox"
)

// sharedNetwork is the private network of a build, started when the first RUN asks for it.
type sharedNetwork struct {
	mu  sync.Mutex
	net *sandbox.PrivateNetwork
}

// networkOf is the network that a RUN asks for.
func (w *workspace) networkOf(ctx context.Context, op *runOp) (bundle.Network, error) {
	n := bundle.Network{Mode: sandbox.NetworkHost, Hosts: op.Hosts}
	var err error
	switch op.Network {
	case dockerfile.NetworkNone:
		n.Mode = sandbox.NetworkNone
	case planner.NetworkPrivate:
		n.Mode = sandbox.NetworkPrivate
		n.Private, err = w.privateNetwork(ctx)
	}
	return n, err
}

// privateNetwork starts the network once; all RUNs of the build are in it.
func (e *engine) privateNetwork(ctx context.Context) (*sandbox.PrivateNetwork, error) {
	e.network.mu.Lock()
	defer e.network.mu.Unlock()
	if e.network.net != nil {
		return e.network.net, nil
	}
	tmp, err := e.store.TempDir("network")
	if err != nil {
		return nil, err
	}
	net, err := sandbox.StartNetwork(ctx, tmp.Path())
	if err != nil {
		_ = tmp.Close()
		return nil, err
	}
	e.network.net = net
	e.onClose(func() {
		net.Close()
		_ = tmp.Close()
	})
	return net, nil
}
