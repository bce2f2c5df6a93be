package fetch

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
)

const (
	attempts = 5
	// idle is how long a transfer may stand still before it is given up and tried again.
	idle = time.Minute
)

// download is one URL being fetched: what it has so far survives from attempt to attempt.
type download struct {
	c        *Client
	url      *url.URL
	raw      string
	checksum digest.Digest
	old      *meta // what the cache has, if anything

	tmp     *os.File
	have    int64
	sum     hash.Hash // sha256 of what is there
	want    digest.Verifier
	reply   meta   // the headers of the answer that the file began with
	ifRange string // what makes sure that the rest is of the same file; empty when it can only be fetched whole
}

func (d *download) run(ctx context.Context) (m meta, err error) {
	d.c.prune()
	if d.tmp, err = os.CreateTemp(d.c.o.CacheDir, ".tmp-*"); err != nil {
		return meta{}, err
	}
	defer func() {
		d.tmp.Close()
		os.Remove(d.tmp.Name()) // gone already where it went into the cache
	}()
	for delay, n := d.c.o.RetryDelay, 1; ; delay, n = delay*2, n+1 {
		var done bool
		if m, done, err = d.attempt(ctx); done {
			return m, err
		}
		if n == attempts || !passing(ctx, err) {
			return meta{}, err
		}
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return meta{}, ctx.Err()
		}
	}
}

// attempt makes one request; done is true when the answer is final.
func (d *download) attempt(ctx context.Context) (_ meta, done bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	req, err := d.request(ctx)
	if err != nil {
		return meta{}, true, err
	}
	res, err := d.c.http.Do(req)
	if err != nil {
		return meta{}, false, fmt.Errorf("fetch %s: %w", d.url.Redacted(), redact(err))
	}
	defer res.Body.Close()
	switch {
	case d.unchanged(res):
		m, err := d.checked(*d.old)
		return m, true, err
	case res.StatusCode == http.StatusPartialContent && req.Header.Get("Range") != "" && d.goesOn(res):
	case res.StatusCode == http.StatusOK:
		if err := d.restart(res); err != nil {
			return meta{}, true, err
		}
	default:
		if res.StatusCode == http.StatusRequestedRangeNotSatisfiable {
			d.have = 0
		}
		return meta{}, false, &StatusError{URL: d.url.Redacted(), Code: res.StatusCode}
	}
	if err := d.read(res, cancel); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return meta{}, false, fmt.Errorf("fetch %s: %w", d.url.Redacted(), err)
	}
	m, err := d.finish()
	return m, true, err
}

// redact takes the URL out of an error of net/http: it may have a password.
func redact(err error) error {
	var ue *url.Error
	if errors.As(err, &ue) {
		return ue.Err
	}
	return err
}

func (d *download) request(ctx context.Context) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.raw, nil)
	if err != nil {
		return nil, fmt.Errorf("fetch: %w", redact(err))
	}
	req.Header.Set("Accept-Encoding", "identity")
	if d.c.o.UserAgent != "" {
		req.Header.Set("User-Agent", d.c.o.UserAgent)
	}
	d.c.authorize(req)
	switch {
	case d.have > 0 && d.ifRange != "":
		req.Header.Set("Range", "bytes="+strconv.FormatInt(d.have, 10)+"-")
		req.Header.Set("If-Range", d.ifRange)
	case d.old != nil && d.old.ETag != "":
		req.Header.Set("If-None-Match", d.old.ETag)
	case d.old != nil && d.old.LastModified != "":
		req.Header.Set("If-Modified-Since", d.old.LastModified)
	}
	return req, nil
}

// unchanged says whether the cache has what the server has. Some servers give ETags and don't understand If-None-Match: the
// ETag of a full answer counts as well.
func (d *download) unchanged(res *http.Response) bool {
	if d.old == nil {
		return false
	}
	if res.StatusCode == http.StatusNotModified {
		return true
	}
	weak := func(tag string) string { return strings.TrimPrefix(tag, "W/") }
	return res.StatusCode == http.StatusOK && d.old.ETag != "" && weak(d.old.ETag) == weak(res.Header.Get("ETag"))
}

// goesOn says whether a partial answer is the rest of what is there.
func (d *download) goesOn(res *http.Response) bool {
	return strings.HasPrefix(res.Header.Get("Content-Range"), "bytes "+strconv.FormatInt(d.have, 10)+"-")
}

// restart begins the file anew with this answer.
func (d *download) restart(res *http.Response) error {
	d.have, d.sum, d.want = 0, sha256.New(), nil
	if d.checksum != "" {
		d.want = d.checksum.Verifier()
	}
	d.reply = meta{
		URL: d.raw, Size: res.ContentLength, ETag: res.Header.Get("ETag"), LastModified: res.Header.Get("Last-Modified"),
	}
	switch {
	case res.ContentLength < 0:
		d.ifRange = ""
	case d.reply.ETag != "" && !strings.HasPrefix(d.reply.ETag, "W/"):
		d.ifRange = d.reply.ETag
	default:
		d.ifRange = d.reply.LastModified
	}
	if err := d.tmp.Truncate(0); err != nil {
		return err
	}
	_, err := d.tmp.Seek(0, io.SeekStart)
	return err
}

// read takes the body, and gives up when nothing comes for long.
func (d *download) read(res *http.Response, cancel context.CancelCauseFunc) error {
	still := time.AfterFunc(idle, func() { cancel(fmt.Errorf("no data for %s", idle)) })
	defer still.Stop()
	buf := make([]byte, 128<<10)
	for {
		n, err := res.Body.Read(buf)
		still.Reset(idle)
		if _, werr := d.tmp.Write(buf[:n]); werr != nil {
			return werr
		}
		d.sum.Write(buf[:n])
		if d.want != nil {
			d.want.Write(buf[:n])
		}
		d.have += int64(n)
		if d.c.o.OnProgress != nil && n > 0 {
			d.c.o.OnProgress(d.url.Redacted(), d.have, max(d.reply.Size, 0))
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	if d.reply.Size >= 0 && d.have != d.reply.Size {
		return fmt.Errorf("got %d bytes of %d", d.have, d.reply.Size)
	}
	return nil
}

// finish puts the file into the cache.
func (d *download) finish() (meta, error) {
	m := d.reply
	m.Digest, m.Size = digest.NewDigest(digest.SHA256, d.sum), d.have
	if d.want != nil && !d.want.Verified() {
		return meta{}, &ChecksumError{URL: d.url.Redacted(), Want: d.checksum.String(), Got: m.Digest.String()}
	}
	if err := d.tmp.Close(); err != nil {
		return meta{}, err
	}
	return m, d.c.remember(d.tmp.Name(), m)
}

// checked applies the checksum to what the cache has.
func (d *download) checked(m meta) (meta, error) {
	if d.checksum == "" || d.checksum == m.Digest {
		return m, nil
	}
	return meta{}, &ChecksumError{URL: d.url.Redacted(), Want: d.checksum.String(), Got: m.Digest.String()}
}
