package fetch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/cairnbuild/cairn/internal/files"
	"github.com/opencontainers/go-digest"
)

// File is a file fetched over http.
type File struct {
	// Path is where it is; it stays there while the cache knows it, at least for days. It must not be changed.
	Path string
	// Name is the last part of the URL's path, or "__unnamed__": what ADD calls the file.
	Name   string
	Digest digest.Digest
	Size   int64
	// ModTime is the server's Last-Modified; 1970 when it gave none.
	ModTime time.Time
}

// StatusError is an http answer that is no success.
type StatusError struct {
	// URL has no password in it.
	URL  string
	Code int
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("fetch %s: the server answered %d %s", e.URL, e.Code, http.StatusText(e.Code))
}

// ChecksumError says that a file, or a git commit, is not the one that was asked for.
type ChecksumError struct{ URL, Want, Got string }

func (e *ChecksumError) Error() string {
	return fmt.Sprintf("fetch %s: checksum is %s, expected %s", e.URL, e.Got, e.Want)
}

// FileName is the name that ADD gives to a file fetched from a URL.
func FileName(rawURL string) string {
	if u, err := url.Parse(rawURL); err == nil {
		if base := path.Base(u.Path); base != "." && base != "/" && base != ".." && base != "" {
			return base
		}
	}
	return "__unnamed__"
}

// meta is what the cache remembers of a URL.
type meta struct {
	URL          string        `json:"url"`
	Digest       digest.Digest `json:"digest"`
	Size         int64         `json:"size"`
	ETag         string        `json:"etag,omitempty"`
	LastModified string        `json:"lastModified,omitempty"`
}

func (c *Client) metaPath(rawURL string) string {
	return filepath.Join(c.o.CacheDir, "url-"+hashed(rawURL)+".json")
}

func (c *Client) contentPath(d digest.Digest) string {
	return filepath.Join(c.o.CacheDir, "file-"+d.Encoded())
}

// HTTP fetches a URL. checksum, if not empty, is the digest that the content must have; then nothing is asked for when that
// content is there already. Otherwise the server is asked whether its ETag or Last-Modified is still the one in the cache.
//
// Requests that fail for reasons that may pass (network errors, 408, 429, 5xx) are tried again a few times, and go on where
// they were cut off if the server can. Errors: *StatusError, *ChecksumError, or of the network. The secrets HTTP_AUTH_HEADER_ and
// HTTP_AUTH_TOKEN_ with the URL's host name make the Authorization header; it is not sent to another host on a redirect.
func (c *Client) HTTP(ctx context.Context, rawURL string, checksum digest.Digest) (File, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return File{}, fmt.Errorf("fetch: %w", err)
	}
	if checksum != "" {
		if err := checksum.Validate(); err != nil {
			return File{}, fmt.Errorf("fetch %s: checksum %q: %w", u.Redacted(), checksum, err)
		}
	}
	old, cached := c.cached(rawURL)
	if cached && checksum != "" && old.Digest == checksum {
		return c.file(rawURL, old), nil
	}
	d := &download{c: c, url: u, raw: rawURL, checksum: checksum}
	if cached {
		d.old = &old
	}
	m, err := d.run(ctx)
	if err != nil {
		return File{}, err
	}
	return c.file(rawURL, m), nil
}

func (c *Client) file(rawURL string, m meta) File {
	f := File{Path: c.contentPath(m.Digest), Name: FileName(rawURL), Digest: m.Digest, Size: m.Size, ModTime: time.Unix(0, 0).UTC()}
	if t, err := http.ParseTime(m.LastModified); err == nil {
		f.ModTime = t.UTC()
	}
	touch(f.Path)
	touch(c.metaPath(rawURL))
	return f
}

// cached finds what is known of a URL, provided that the content is there and sound.
func (c *Client) cached(rawURL string) (meta, bool) {
	var m meta
	data, err := os.ReadFile(c.metaPath(rawURL))
	if err != nil || json.Unmarshal(data, &m) != nil || m.URL != rawURL || m.Digest.Validate() != nil {
		return meta{}, false
	}
	f, err := os.Open(c.contentPath(m.Digest))
	if err != nil {
		return meta{}, false
	}
	defer f.Close()
	v := m.Digest.Verifier()
	n, err := io.Copy(v, f)
	return m, err == nil && n == m.Size && v.Verified()
}

// remember puts a finished temporary file into the cache.
func (c *Client) remember(tmp string, m meta) error {
	if err := os.Rename(tmp, c.contentPath(m.Digest)); err != nil {
		return err
	}
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return files.Write(c.metaPath(m.URL), data, files.Options{})
}

// authorize sets the Authorization header from the build's secrets.
func (c *Client) authorize(req *http.Request) {
	host := req.URL.Hostname()
	if v, ok := c.o.Secret("HTTP_AUTH_HEADER_" + host); ok {
		req.Header.Set("Authorization", strings.TrimSpace(string(v)))
	}
	if v, ok := c.o.Secret("HTTP_AUTH_TOKEN_" + host); ok {
		req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(v)))
	}
}

// passing says whether an error may be gone at the next attempt.
func passing(ctx context.Context, err error) bool {
	if ctx.Err() != nil {
		return false
	}
	var status *StatusError
	if errors.As(err, &status) {
		return status.Code >= 500 || status.Code == http.StatusTooManyRequests || status.Code == http.StatusRequestTimeout
	}
	var sum *ChecksumError
	var path *os.PathError
	return !errors.As(err, &sum) && !errors.As(err, &path) // a full disk stays full
}
