package registry

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/cairnbuild/cairn/oci"
	"github.com/regclient/regclient/config"
	"github.com/regclient/regclient/types/errs"
)

// ErrRateLimited says that the registry wants fewer requests from this address or user.
var ErrRateLimited = errors.New("rate limit of the registry")

// AuthError says that a registry refused access: the repository is private, or does not exist, or the credentials are wrong.
type AuthError struct {
	Ref oci.Reference
	// HadCredentials says whether there were credentials for the registry.
	HadCredentials bool
	// Looked are the places where credentials were looked for.
	Looked []string
	// Helper says why the credential helper for the registry gave none; "" when there is no helper, or it has none.
	Helper string
	Err    error
}

func (e *AuthError) Error() string {
	if e.Helper != "" {
		return fmt.Sprintf("access to %s denied: %s", e.Ref.FamiliarRepository(), e.Helper)
	}
	if e.HadCredentials {
		return fmt.Sprintf("access to %s denied with the credentials for %s", e.Ref.FamiliarRepository(), e.Ref.Domain())
	}
	return fmt.Sprintf("access to %s denied without credentials (none for %s in %s)",
		e.Ref.FamiliarRepository(), e.Ref.Domain(), strings.Join(e.Looked, ", "))
}

// Unwrap gives the registry's answer.
func (e *AuthError) Unwrap() error { return e.Err }

// NotFoundError says that a registry has no such manifest, blob or repository. It is fs.ErrNotExist.
type NotFoundError struct {
	Ref oci.Reference
}

func (e *NotFoundError) Error() string { return e.Ref.Familiar() + " is not in the registry" }

// Is makes it fs.ErrNotExist.
func (e *NotFoundError) Is(target error) bool { return target == fs.ErrNotExist }

// translate gives regclient's errors their types here.
func (c *Client) translate(ctx context.Context, r oci.Reference, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, errs.ErrNotFound):
		return &NotFoundError{Ref: r}
	case errors.Is(err, errs.ErrHTTPRateLimit):
		return fmt.Errorf("%w: %w", ErrRateLimited, err)
	case errors.Is(err, errs.ErrHTTPUnauthorized), errors.Is(err, errs.ErrNoNewChallenge), errors.Is(err, errs.ErrEmptyChallenge),
		errors.Is(err, errs.ErrNoLogin):
		return c.authError(ctx, r, err)
	}
	// regclient's outermost words only repeat what the caller says of the request.
	for strings.HasPrefix(err.Error(), "failed to ") && errors.Unwrap(err) != nil {
		err = errors.Unwrap(err)
	}
	return err
}

func (c *Client) authError(ctx context.Context, r oci.Reference, err error) error {
	e := &AuthError{Ref: r, Err: err, Helper: helperFailure(ctx, credentialFiles(c.o.DockerConfig), r.Domain())}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.creds != nil {
		e.Looked = c.creds.looked
		_, e.HadCredentials = c.creds.hosts[config.HostNewName(r.Domain()).Name]
	}
	return e
}
