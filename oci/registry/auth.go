package registry

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/regclient/regclient/config"
	"github.com/regclient/regclient/types/errs"
)

// credentials are what the user's files say of registries, by regclient's name for each.
type credentials struct {
	hosts  map[string]config.Host
	looked []string // where they were looked for
}

// loadCredentials reads all files that there are. A file that cannot be read is an error that names it.
func loadCredentials(dockerConfig string) (*credentials, error) {
	c := &credentials{hosts: map[string]config.Host{}}
	for i, path := range credentialFiles(dockerConfig) {
		c.looked = append(c.looked, path)
		hosts, err := config.DockerLoadFile(path)
		if err != nil {
			return nil, fmt.Errorf("read credentials %s: %w", path, err)
		}
		c.add(hosts)
		if i == 0 && dockerConfig == "" {
			if err := c.addEnvironment(); err != nil {
				return nil, err
			}
		}
	}
	return c, nil
}

// credentialFiles lists the files in the order in which they count.
func credentialFiles(dockerConfig string) []string {
	home, _ := os.UserHomeDir() // without a home there are fewer files
	var files []string
	add := func(dir string, elem ...string) {
		if dir != "" {
			files = append(files, filepath.Join(append([]string{dir}, elem...)...))
		}
	}
	switch dir := os.Getenv("DOCKER_CONFIG"); {
	case dockerConfig != "":
		add(dockerConfig)
	case dir != "":
		add(dir, "config.json")
	default:
		add(home, ".docker", "config.json")
	}
	add(os.Getenv("REGISTRY_AUTH_FILE"))
	add(os.Getenv("XDG_RUNTIME_DIR"), "containers", "auth.json")
	if dir := os.Getenv("XDG_CONFIG_HOME"); dir != "" {
		add(dir, "containers", "auth.json")
	} else {
		add(home, ".config", "containers", "auth.json")
	}
	return files
}

func (c *credentials) add(hosts []config.Host) {
	for _, h := range hosts {
		if _, ok := c.hosts[h.Name]; !ok {
			c.hosts[h.Name] = h
		}
	}
}

func (c *credentials) addEnvironment() error {
	const name = "DOCKER_AUTH_CONFIG"
	hosts, err := config.DockerLoadEnv(name)
	if errors.Is(err, errs.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read credentials $%s: %w", name, err)
	}
	c.looked = append(c.looked, "$"+name)
	c.add(hosts)
	return nil
}
