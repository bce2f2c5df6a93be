// Package registry pulls and pushes images over the OCI distribution API, with regclient. It trusts no registry: every
// manifest and blob is compared with its descriptor, nothing longer than the descriptor says is read, and manifests have a size
// limit. Downloads that are cut are resumed.
//
// # Credentials
//
// They are looked for, for each registry, in this order, and the first found is used: Options.DockerConfig, or else the
// config.json in $DOCKER_CONFIG or ~/.docker (with its credential helpers) and $DOCKER_AUTH_CONFIG; then $REGISTRY_AUTH_FILE;
// $XDG_RUNTIME_DIR/containers/auth.json, where podman and skopeo keep theirs; and $XDG_CONFIG_HOME/containers/auth.json.
// Entries for a single repository of a registry are not used. Nothing is read, and no helper run, before the first request.
//
// # Plain HTTP
//
// Registries on the loopback (localhost, 127.0.0.0/8, ::1) and those in Options.Insecure are asked over HTTPS without
// comparing the certificate, and over HTTP when they do not speak TLS, as Docker does. All others need a valid certificate.
package registry

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cairnbuild/cairn/oci"
	"github.com/regclient/regclient"
	"github.com/regclient/regclient/config"
	"github.com/regclient/regclient/scheme/reg"
	"github.com/regclient/regclient/types/ref"
)

// Settings of every registry.
const (
	// concurrency is how many requests and open blobs a registry may have; further ones wait. The caller's own limit should be
	// below it.
	concurrency  = 10
	retryLimit   = 5
	retryDelay   = 100 * time.Millisecond
	retryMax     = 5 * time.Second
	probeTimeout = 10 * time.Second
)

// Options configure a Client. The zero value works.
type Options struct {
	// DockerConfig is the path of a config.json to use in place of Docker's own; empty for that.
	DockerConfig string
	// Insecure are registries ("host" or "host:port") that may have an invalid certificate, or speak plain HTTP.
	Insecure []string
	// UserAgent is what to say of ourselves; empty for regclient's.
	UserAgent string
}

// Client talks to registries. It may be used from several goroutines.
type Client struct {
	o Options

	mu      sync.Mutex
	clients map[string]*regclient.RegClient // by registry
	creds   *credentials                    // nil until the first request
}

// New checks the options. It opens no connection and reads no file.
func New(o Options) (*Client, error) {
	for _, host := range o.Insecure {
		if !config.HostValidate(host) {
			return nil, fmt.Errorf("insecure registry %q: must be a host, or host:port", host)
		}
	}
	return &Client{o: o, clients: map[string]*regclient.RegClient{}}, nil
}

// client gives the regclient for a registry, making it at the first call.
func (c *Client) client(ctx context.Context, domain string) (*regclient.RegClient, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if rc, ok := c.clients[domain]; ok {
		return rc, nil
	}
	if c.creds == nil {
		creds, err := loadCredentials(c.o.DockerConfig)
		if err != nil {
			return nil, err
		}
		c.creds = creds
	}
	host := *config.HostNewName(domain)
	if have, ok := c.creds.hosts[host.Name]; ok {
		host = have
	}
	host.ReqConcurrent = concurrency
	host.TLS = config.TLSEnabled // whatever scheme the key of a credential has
	if isLoopback(domain) || slices.Contains(c.o.Insecure, domain) {
		host.TLS = c.probe(ctx, host.Hostname)
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	opts := []regclient.Opt{
		regclient.WithConfigHost(host),
		regclient.WithDockerCerts(),
		regclient.WithRetryLimit(retryLimit),
		regclient.WithRetryDelay(retryDelay, retryMax),
		regclient.WithRegOpts(reg.WithManifestMax(oci.MaxMetadata, oci.MaxMetadata)),
	}
	if c.o.UserAgent != "" {
		opts = append(opts, regclient.WithUserAgent(c.o.UserAgent))
	}
	rc := regclient.New(opts...)
	c.clients[domain] = rc
	return rc, nil
}

// probe finds out whether an insecure registry speaks TLS at all.
func (c *Client) probe(ctx context.Context, hostname string) config.TLSConf {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	transport := &http.Transport{
		Proxy:             http.ProxyFromEnvironment,
		DialContext:       (&net.Dialer{}).DialContext,
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // what the user asked for
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, "https://"+hostname+"/v2/", nil)
	if err != nil {
		return config.TLSDisabled
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return config.TLSDisabled // a dead host says so again to the real request
	}
	resp.Body.Close()
	return config.TLSInsecure
}

// isLoopback says whether a registry is on this machine.
func isLoopback(domain string) bool {
	host := domain
	if h, _, err := net.SplitHostPort(domain); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// regRef is r in regclient's form. A digest goes before a tag there.
func regRef(r oci.Reference) ref.Ref {
	return ref.Ref{
		Scheme: "reg", Reference: r.String(), Registry: r.Domain(), Repository: r.Path(), Tag: r.Tag(), Digest: r.Digest().String(),
	}
}
