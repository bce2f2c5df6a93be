// Package fetch brings what a build reads over the network to the disk: files over http and https, and git repositories
// through the git program. What was fetched once is kept in a cache directory and only asked for again.
package fetch

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Options for New. Only CacheDir must be set.
type Options struct {
	// CacheDir keeps what was fetched from build to build; it is made when missing. Several processes may share it. What
	// nobody asked for in a month is removed.
	CacheDir string
	// Secret finds a build secret: HTTP_AUTH_HEADER_<host>, HTTP_AUTH_TOKEN_<host>, GIT_AUTH_HEADER, GIT_AUTH_TOKEN and these
	// two with ".<host>" at the end. nil knows none.
	Secret func(name string) (value []byte, ok bool)
	// SSHAuthSock is the agent that git over ssh may use; empty for none.
	SSHAuthSock string
	// KnownHosts is the file with the host keys that ssh trusts. Without it, keys are learned at first sight and kept in the
	// cache directory.
	KnownHosts string
	// UserAgent is sent to http servers.
	UserAgent string
	// OnProgress hears of a download's bytes; total is 0 while unknown. It is called from the goroutine that downloads.
	OnProgress func(url string, current, total int64)
	// Transport takes the place of the default one, which honours the proxy variables of the environment.
	Transport http.RoundTripper
	// RetryDelay is the pause before the second attempt, doubled for each further one; 0 means half a second.
	RetryDelay time.Duration
}

// Client fetches. Its methods may be called from several goroutines.
type Client struct {
	o    Options
	http *http.Client
}

// New returns a Client.
func New(o Options) (*Client, error) {
	if o.CacheDir == "" {
		return nil, errors.New("fetch: no cache directory given")
	}
	abs, err := filepath.Abs(o.CacheDir)
	if err != nil {
		return nil, err
	}
	o.CacheDir = abs
	if err := os.MkdirAll(o.CacheDir, 0o700); err != nil {
		return nil, fmt.Errorf("make download cache: %w", err)
	}
	if o.Secret == nil {
		o.Secret = func(string) ([]byte, bool) { return nil, false }
	}
	if o.RetryDelay == 0 {
		o.RetryDelay = 500 * time.Millisecond
	}
	if o.Transport == nil {
		t, ok := http.DefaultTransport.(*http.Transport)
		if !ok {
			return nil, errors.New("fetch: the default transport was replaced")
		}
		t = t.Clone()
		t.DisableCompression = true // a file is what the server stores, as curl gets it
		t.ResponseHeaderTimeout = time.Minute
		o.Transport = t
	}
	return &Client{o: o, http: &http.Client{Transport: o.Transport}}, nil
}

// keep is how long what nobody asks for stays in the cache.
const keep = 30 * 24 * time.Hour

// prune removes what was not used for long, and what downloads that were killed left behind. Failures are no one's concern:
// the next one tries again.
func (c *Client) prune() {
	entries, err := os.ReadDir(c.o.CacheDir)
	if err != nil {
		return
	}
	for _, e := range entries {
		limit := keep
		if strings.HasPrefix(e.Name(), ".tmp-") {
			limit = 24 * time.Hour
		}
		fi, err := e.Info()
		if err == nil && time.Since(fi.ModTime()) > limit {
			os.RemoveAll(filepath.Join(c.o.CacheDir, e.Name()))
		}
	}
}

// touch says that something in the cache was used.
func touch(path string) {
	now := time.Now()
	os.Chtimes(path, now, now)
}

// hashed makes a file name of something.
func hashed(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:16])
}
