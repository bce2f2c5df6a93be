package engine

import (
	"fmt"
	"sync"

	"github.com/cairnbuild/cairn/internal/sshagent"
)

// agents are the ssh agents that --ssh gives. Its methods may be called from several goroutines.
type agents struct {
	given []SSH

	mu sync.Mutex
	// opened are those that were asked for, by id; nil for an id that no --ssh gives.
	opened map[string]*sshagent.Agent
}

// socket is where the agent for an id listens until close; "" for an id that no --ssh gives.
func (a *agents) socket(id string) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if opened, ok := a.opened[id]; ok {
		return socketOf(opened), nil
	}
	var found *sshagent.Agent
	for _, s := range a.given {
		if s.ID != id {
			continue
		}
		var err error
		if found, err = sshagent.Open(s.Paths); err != nil {
			return "", fmt.Errorf("--ssh %s: %w", id, err)
		}
		break
	}
	if a.opened == nil {
		a.opened = map[string]*sshagent.Agent{}
	}
	a.opened[id] = found
	return socketOf(found), nil
}

func socketOf(a *sshagent.Agent) string {
	if a == nil {
		return ""
	}
	return a.Socket
}

func (a *agents) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, opened := range a.opened {
		if opened != nil {
			opened.Close()
		}
	}
	a.opened = nil
}
