package fetch

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cairnbuild/cairn/internal/files"
	"github.com/opencontainers/go-digest"
	"gotest.tools/v3/assert"
)

func client(t *testing.T, o Options) *Client {
	t.Helper()
	if o.CacheDir == "" {
		o.CacheDir = t.TempDir()
	}
	o.RetryDelay = time.Millisecond
	c, err := New(o)
	assert.NilError(t, err)
	return c
}

func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

func content(t *testing.T, f File) string {
	t.Helper()
	data, err := os.ReadFile(f.Path)
	assert.NilError(t, err)
	assert.Equal(t, digest.FromBytes(data), f.Digest)
	assert.Equal(t, int64(len(data)), f.Size)
	return string(data)
}

// noTemps checks that a client left no temporary file.
func noTemps(t *testing.T, c *Client) {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(c.o.CacheDir, ".tmp-*"))
	assert.NilError(t, err)
	assert.Equal(t, len(left), 0, "%v", left)
}

func TestRow21NameOfAURL(t *testing.T) {
	for in, want := range map[string]string{
		"http://h/a/b.txt": "b.txt", "http://h/a/b.txt?x=/y": "b.txt", "http://h/a/": "a", "http://h/": "__unnamed__",
		"http://h": "__unnamed__", "http://h/a%2fb": "b", "http://h/..": "__unnamed__", "http://h/%2e%2e": "__unnamed__",
	} {
		assert.Equal(t, FileName(in), want, in)
	}
}

func TestRow21LastModifiedBecomesTheTime(t *testing.T) {
	when := time.Date(2020, 2, 3, 4, 5, 6, 0, time.UTC)
	u := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/dated" {
			w.Header().Set("Last-Modified", when.Format(http.TimeFormat))
		}
		fmt.Fprint(w, "x")
	})
	c := client(t, Options{})
	f, err := c.HTTP(t.Context(), u+"/dated", "")
	assert.NilError(t, err)
	assert.Equal(t, f.ModTime, when)
	assert.Equal(t, f.Name, "dated")
	f, err = c.HTTP(t.Context(), u+"/undated", "")
	assert.NilError(t, err)
	assert.Equal(t, f.ModTime, time.Unix(0, 0).UTC())
}

func TestETagAndLastModifiedSpareTheDownload(t *testing.T) {
	var body, asked atomic.Int32
	version := "1"
	u := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		switch r.URL.Path {
		case "/etag":
			w.Header().Set("ETag", `"`+version+`"`)
			if r.Header.Get("If-None-Match") == `"`+version+`"` {
				w.WriteHeader(http.StatusNotModified)
				return
			}
		case "/weak": // does not understand If-None-Match
			w.Header().Set("ETag", `W/"`+version+`"`)
		case "/date":
			w.Header().Set("Last-Modified", "Mon, 03 Feb 2020 04:05:0"+version+" GMT")
			if r.Header.Get("If-Modified-Since") == "Mon, 03 Feb 2020 04:05:0"+version+" GMT" {
				w.WriteHeader(http.StatusNotModified)
				return
			}
		}
		body.Add(1)
		fmt.Fprint(w, "version "+version)
	})
	for _, p := range []string{"/etag", "/date", "/weak", "/nothing"} {
		version = "1"
		c := client(t, Options{})
		first, err := c.HTTP(t.Context(), u+p, "")
		assert.NilError(t, err)
		body.Store(0)
		again, err := c.HTTP(t.Context(), u+p, "")
		assert.NilError(t, err)
		assert.Equal(t, again, first)
		assert.Equal(t, body.Load() == 0, p == "/etag" || p == "/date", p)
		version = "2"
		next, err := c.HTTP(t.Context(), u+p, "")
		assert.NilError(t, err)
		assert.Equal(t, content(t, next), "version 2", p)
		noTemps(t, c)
	}
}

func TestDamagedCacheIsFetchedAnew(t *testing.T) {
	u := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"1"`)
		if r.Header.Get("If-None-Match") != "" {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		fmt.Fprint(w, "good")
	})
	c := client(t, Options{})
	f, err := c.HTTP(t.Context(), u, "")
	assert.NilError(t, err)
	assert.NilError(t, os.WriteFile(f.Path, []byte("evil"), 0o600))
	f, err = c.HTTP(t.Context(), u, "")
	assert.NilError(t, err)
	assert.Equal(t, content(t, f), "good")
	assert.NilError(t, os.WriteFile(c.metaPath(u), []byte("{"), 0o600))
	_, err = c.HTTP(t.Context(), u, "")
	assert.NilError(t, err)
}

func TestChecksum(t *testing.T) {
	var asked atomic.Int32
	u := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		fmt.Fprint(w, "content")
	})
	c := client(t, Options{})
	want := digest.FromString("content")
	_, err := c.HTTP(t.Context(), u, digest.FromString("other"))
	var sum *ChecksumError
	assert.Assert(t, errors.As(err, &sum), "%v", err)
	assert.Equal(t, sum.Got, want.String())
	assert.Equal(t, asked.Load(), int32(1), "a wrong checksum is not tried again")
	_, err = c.HTTP(t.Context(), u, want)
	assert.NilError(t, err)
	asked.Store(0)
	_, err = c.HTTP(t.Context(), u, want)
	assert.NilError(t, err)
	assert.Equal(t, asked.Load(), int32(0), "what is there is not asked for")
	_, err = c.HTTP(t.Context(), u, digest.SHA512.FromString("content"))
	assert.NilError(t, err)
	_, err = c.HTTP(t.Context(), u, "sha256:xyz")
	assert.ErrorContains(t, err, "checksum")
	noTemps(t, c)
}

func TestCutDownloadGoesOn(t *testing.T) {
	whole := strings.Repeat("0123456789", 1000)
	for _, tc := range []struct {
		name   string
		etag   string
		range_ bool
	}{{"with ranges", `"e"`, true}, {"without ranges", `"e"`, false}, {"with a weak tag", `W/"e"`, true}} {
		t.Run(tc.name, func(t *testing.T) {
			var ranges []string
			n := 0
			u := serve(t, func(w http.ResponseWriter, r *http.Request) {
				n++
				ranges = append(ranges, r.Header.Get("Range"))
				w.Header().Set("ETag", tc.etag)
				from := 0
				if rg := r.Header.Get("Range"); rg != "" && tc.range_ && r.Header.Get("If-Range") == tc.etag {
					fmt.Sscanf(rg, "bytes=%d-", &from)
					w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(whole)-1, len(whole)))
				}
				w.Header().Set("Content-Length", fmt.Sprint(len(whole)-from))
				if from > 0 {
					w.WriteHeader(http.StatusPartialContent)
				}
				end := len(whole)
				if n <= 2 {
					end = min(end, from+3000)
				}
				fmt.Fprint(w, whole[from:end])
			})
			c := client(t, Options{})
			f, err := c.HTTP(t.Context(), u, digest.FromString(whole))
			assert.NilError(t, err)
			assert.Equal(t, content(t, f), whole)
			assert.Equal(t, len(ranges), 3)
			assert.Equal(t, ranges[1] != "", !strings.HasPrefix(tc.etag, "W/"))
			noTemps(t, c)
		})
	}
}

func TestFileThatChangesWhileItIsFetched(t *testing.T) {
	n := 0
	u := serve(t, func(w http.ResponseWriter, r *http.Request) {
		n++
		w.Header().Set("ETag", fmt.Sprintf(`"%d"`, n)) // a Range with If-Range of the old tag gets the whole new file
		w.Header().Set("Content-Length", "8")
		if n == 1 {
			fmt.Fprint(w, "aaaa")
			return
		}
		fmt.Fprint(w, "bbbbbbbb")
	})
	f, err := client(t, Options{}).HTTP(t.Context(), u, "")
	assert.NilError(t, err)
	assert.Equal(t, content(t, f), "bbbbbbbb")
}

func TestStatusAndRetry(t *testing.T) {
	for code, want := range map[int]int32{404: 1, 403: 1, 401: 1, 500: attempts, 503: attempts, 429: attempts} {
		var asked atomic.Int32
		u := serve(t, func(w http.ResponseWriter, r *http.Request) { asked.Add(1); w.WriteHeader(code) })
		withPassword := strings.Replace(u, "http://", "http://me:secret@", 1)
		c := client(t, Options{})
		_, err := c.HTTP(t.Context(), withPassword, "")
		var status *StatusError
		assert.Assert(t, errors.As(err, &status), "%v", err)
		assert.Equal(t, status.Code, code)
		assert.Equal(t, asked.Load(), want)
		assert.Assert(t, !strings.Contains(err.Error(), "secret"))
		noTemps(t, c)
	}
	var asked atomic.Int32
	u := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) < 3 {
			w.WriteHeader(502)
			return
		}
		fmt.Fprint(w, "at last")
	})
	f, err := client(t, Options{}).HTTP(t.Context(), u, "")
	assert.NilError(t, err)
	assert.Equal(t, content(t, f), "at last")
}

func TestUnreachableServerNamesNoPassword(t *testing.T) {
	_, err := client(t, Options{}).HTTP(t.Context(), "http://me:secret@127.0.0.1:1/x", "")
	assert.ErrorContains(t, err, "refused")
	assert.Assert(t, !strings.Contains(err.Error(), "secret"), "%v", err)
}

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	u := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100")
		fmt.Fprint(w, "x")
		w.(http.Flusher).Flush()
		cancel()
		<-r.Context().Done()
	})
	c := client(t, Options{})
	_, err := c.HTTP(ctx, u, "")
	assert.ErrorIs(t, err, context.Canceled)
	noTemps(t, c)
}

func TestHTTPAuthSecrets(t *testing.T) {
	var got string
	other := serve(t, func(w http.ResponseWriter, r *http.Request) { got = "other:" + r.Header.Get("Authorization") })
	other = strings.Replace(other, "127.0.0.1", "localhost", 1)
	u := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got = r.Header.Get("Authorization")
		if r.URL.Path == "/away" {
			http.Redirect(w, r, other, http.StatusFound)
		}
	})
	parsed, err := url.Parse(u)
	assert.NilError(t, err)
	for _, tc := range []struct {
		secrets map[string]string
		path    string
		want    string
	}{
		{nil, "/a", ""},
		{map[string]string{"HTTP_AUTH_TOKEN_" + parsed.Hostname(): "tok\n"}, "/b", "Bearer tok"},
		{map[string]string{"HTTP_AUTH_HEADER_" + parsed.Hostname(): "Basic abc"}, "/c", "Basic abc"},
		{map[string]string{"HTTP_AUTH_TOKEN_example.org": "tok"}, "/d", ""},
		{map[string]string{"HTTP_AUTH_TOKEN_" + parsed.Hostname(): "tok"}, "/away", "other:"},
	} {
		c := client(t, Options{Secret: func(name string) ([]byte, bool) { v, ok := tc.secrets[name]; return []byte(v), ok }})
		_, err := c.HTTP(t.Context(), u+tc.path, "")
		assert.NilError(t, err)
		assert.Equal(t, got, tc.want)
	}
}

func TestProgress(t *testing.T) {
	u := serve(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "12345") })
	var current, total int64
	_, err := client(t, Options{OnProgress: func(_ string, c, n int64) { current, total = c, n }}).HTTP(t.Context(), u, "")
	assert.NilError(t, err)
	assert.Equal(t, current, int64(5))
	assert.Equal(t, total, int64(5))
}

func TestPrune(t *testing.T) {
	u := serve(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.URL.Path) })
	c := client(t, Options{})
	old, err := c.HTTP(t.Context(), u+"/old", "")
	assert.NilError(t, err)
	long := time.Now().Add(-2 * keep)
	for _, p := range []string{old.Path, c.metaPath(u + "/old")} {
		assert.NilError(t, os.Chtimes(p, long, long))
	}
	fresh, err := c.HTTP(t.Context(), u+"/fresh", "")
	assert.NilError(t, err)
	assert.Assert(t, files.Missing(old.Path) && !files.Missing(fresh.Path))
}
