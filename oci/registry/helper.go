package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/regclient/regclient/config"
)

// Helper is a credential helper that one of the user's files names.
type Helper struct {
	// Name is as in the file, Program what is run for it.
	Name, Program string
	// Registry is the one that it is for, "" for all.
	Registry string
	// File names it.
	File string
}

// Missing says that the program is not in PATH.
func (h Helper) Missing() bool {
	_, err := exec.LookPath(h.Program)
	return err != nil
}

// Whose is the registry's name, or "all registries".
func (h Helper) Whose() string {
	if h.Registry == "" {
		return "all registries"
	}
	return h.Registry
}

// CredentialHelpers lists the helpers that the user's files name, of each name the first, in the order in which they count. A
// file that is not there has none; one that cannot be read is an error that names it.
func CredentialHelpers() ([]Helper, error) { return helpersOf(credentialFiles("")) }

func helpersOf(files []string) ([]Helper, error) {
	var all []Helper
	for _, file := range files {
		data, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read credentials: %w", err)
		}
		var c struct {
			CredsStore  string            `json:"credsStore"`
			CredHelpers map[string]string `json:"credHelpers"`
		}
		if err := json.Unmarshal(data, &c); err != nil {
			return nil, fmt.Errorf("read credentials %s: %w", file, err)
		}
		var found []Helper
		for registry, name := range c.CredHelpers {
			found = append(found, newHelper(name, registry, file))
		}
		slices.SortFunc(found, func(a, b Helper) int { return strings.Compare(a.Registry, b.Registry) })
		if c.CredsStore != "" {
			found = append(found, newHelper(c.CredsStore, "", file))
		}
		all = append(all, found...)
	}
	return all, nil
}

func newHelper(name, registry, file string) Helper {
	return Helper{Name: name, Program: "docker-credential-" + name, Registry: registry, File: file}
}

// helperTimeout is how long a helper may take to say why it gave nothing.
const helperTimeout = 10 * time.Second

// helperFailure says why the helper for a registry, if there is one, gave no credentials: it is missing, or it failed. Having
// none to give is no failure.
func helperFailure(ctx context.Context, files []string, domain string) string {
	helpers, err := helpersOf(files)
	if err != nil {
		return "" // was reported when the credentials were loaded
	}
	host := config.HostNewName(domain)
	for _, h := range helpers {
		if h.Registry != "" && config.HostNewName(h.Registry).Name != host.Name {
			continue
		}
		if h.Missing() {
			return fmt.Sprintf("%s, which %s names for %s, is not in PATH", h.Program, h.File, h.Whose())
		}
		if why := h.ask(ctx, host); why != "" {
			return why
		}
	}
	return ""
}

// ask runs the helper once more and returns what it says of its failure.
func (h Helper) ask(ctx context.Context, host *config.Host) string {
	ctx, cancel := context.WithTimeout(ctx, helperTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, h.Program, "get")
	cmd.WaitDelay = time.Second
	name := host.Hostname
	if host.CredHost != "" {
		name = host.CredHost
	}
	cmd.Stdin = strings.NewReader(name)
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said // helpers say what is wrong on standard output
	err := cmd.Run()
	if err == nil || strings.Contains(said.String(), "credentials not found") {
		return ""
	}
	text, _, _ := strings.Cut(strings.TrimSpace(said.String()), "\n")
	if text == "" {
		text = err.Error()
	}
	return fmt.Sprintf("%s, which %s names for %s, failed: %s", h.Program, h.File, h.Whose(), text)
}
