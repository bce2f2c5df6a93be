package engine

import (
	"context"
	"sync"

	"github.com/cairnbuild/cairn/dockerfile"
	"github.com/cairnbuild/cairn/internal/planner"
	"github.com/cairnbuild/cairn/sandbox"
)

// sharedNetwork is the private network of a build, started when the first RUN asks for it.
type sharedNetwork struct {
	mu  sync.Mutex
	net *sandbox.PrivateNetwork
}

// join sets the network of a step.
func (w *workspace) join(ctx context.Context, spec *sandbox.Spec, name dockerfile.Network) error {
	switch name {
	case dockerfile.NetworkNone:
		spec.Network = sandbox.NetworkNone
	case planner.NetworkPrivate:
		net, err := w.privateNetwork(ctx)
		if err != nil {
			return err
		}
		spec.Network, spec.Private = sandbox.NetworkPrivate, net
	default:
		spec.Network = sandbox.NetworkHost
	}
	return nil
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
