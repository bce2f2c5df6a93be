package registry

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cairnbuild/cairn/oci"
	"gotest.tools/v3/assert"
)

// login is a config.json with one user.
func login(host, user, password string) string {
	return fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, host, base64.StdEncoding.EncodeToString([]byte(user+":"+password)))
}

// private is a registry that wants the user "me" with the password "secret".
func private(t *testing.T) (host, home string) {
	t.Helper()
	host = serve(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if user, password, ok := r.BasicAuth(); !ok || user != "me" || password != "secret" {
				w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			h.ServeHTTP(w, r)
		})
	})
	return host, os.Getenv("HOME")
}

// The large registries give tokens, to pull also without a login.
func TestTokens(t *testing.T) {
	host := serve(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			pull := r.Method == http.MethodGet || r.Method == http.MethodHead
			switch user, _, _ := r.BasicAuth(); {
			case r.URL.Path == "/token" && user == "me":
				fmt.Fprint(w, `{"token":"all"}`)
			case r.URL.Path == "/token":
				fmt.Fprint(w, `{"token":"pull"}`)
			case r.Header.Get("Authorization") == "Bearer all", pull && r.Header.Get("Authorization") == "Bearer pull":
				h.ServeHTTP(w, r)
			default:
				w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+r.Host+`/token",service="test",scope="repository:app:pull"`)
				w.WriteHeader(http.StatusUnauthorized)
			}
		})
	})
	var m oci.Memory
	img := image(t, &m, "amd64", 10)
	ref := parse(t, host+"/app:1")
	anonymous := newClient(t, Options{})
	var denied *AuthError
	assert.Assert(t, errors.As(anonymous.Push(t.Context(), ref, img.Manifest, &m, nil), &denied))
	me := newClient(t, Options{DockerConfig: writeFile(t, login(host, "me", "secret"), t.TempDir(), "config.json")})
	assert.NilError(t, me.Push(t.Context(), ref, img.Manifest, &m, nil))
	desc, err := anonymous.Resolve(t.Context(), ref)
	assert.NilError(t, err)
	_, err = oci.ReadImage(t.Context(), anonymous.Source(ref), desc)
	assert.NilError(t, err)
}

func TestCredentialsAreFound(t *testing.T) {
	for name, place := range map[string]func(t *testing.T, host, home string) Options{
		"option": func(t *testing.T, host, home string) Options {
			return Options{DockerConfig: writeFile(t, login(host, "me", "secret"), home, "any")}
		},
		"home": func(t *testing.T, host, home string) Options {
			writeFile(t, login(host, "me", "secret"), home, ".docker", "config.json")
			return Options{}
		},
		"DOCKER_CONFIG": func(t *testing.T, host, home string) Options {
			writeFile(t, login(host, "wrong", "wrong"), home, ".docker", "config.json")
			t.Setenv("DOCKER_CONFIG", filepath.Dir(writeFile(t, login(host, "me", "secret"), home, "d", "config.json")))
			return Options{}
		},
		"DOCKER_AUTH_CONFIG": func(t *testing.T, host, _ string) Options {
			t.Setenv("DOCKER_AUTH_CONFIG", login(host, "me", "secret"))
			return Options{}
		},
		"REGISTRY_AUTH_FILE": func(t *testing.T, host, home string) Options {
			t.Setenv("REGISTRY_AUTH_FILE", writeFile(t, login(host, "me", "secret"), home, "any"))
			return Options{}
		},
		"podman": func(t *testing.T, host, home string) Options {
			t.Setenv("XDG_RUNTIME_DIR", home)
			writeFile(t, login(host, "me", "secret"), home, "containers", "auth.json")
			return Options{}
		},
		"docker before podman": func(t *testing.T, host, home string) Options {
			writeFile(t, login(host, "me", "secret"), home, ".docker", "config.json")
			writeFile(t, login(host, "wrong", "wrong"), home, ".config", "containers", "auth.json")
			return Options{}
		},
		"helper": func(t *testing.T, host, home string) Options {
			helper := writeFile(t, "#!/bin/sh\necho '{\"Username\":\"me\",\"Secret\":\"secret\"}'\n", home, "bin", "docker-credential-test")
			assert.NilError(t, os.Chmod(helper, 0o755))
			t.Setenv("PATH", filepath.Dir(helper)+":"+os.Getenv("PATH"))
			writeFile(t, fmt.Sprintf(`{"credHelpers":{%q:"test"}}`, host), home, ".docker", "config.json")
			return Options{}
		},
	} {
		t.Run(name, func(t *testing.T) {
			host, home := private(t)
			c := newClient(t, place(t, host, home))
			var m oci.Memory
			img := image(t, &m, "amd64", 10)
			assert.NilError(t, c.Push(t.Context(), parse(t, host+"/app:1"), img.Manifest, &m, nil))
			_, err := c.Resolve(t.Context(), parse(t, host+"/app:1"))
			assert.NilError(t, err)
		})
	}
}

func TestAuthErrorSaysWhereItLooked(t *testing.T) {
	host, home := private(t)
	var m oci.Memory
	img := image(t, &m, "amd64", 10)
	ref := parse(t, host+"/me/app:1")
	var denied *AuthError

	c := newClient(t, Options{})
	_, err := c.Resolve(t.Context(), ref)
	assert.Assert(t, errors.As(err, &denied), "%v", err)
	assert.Assert(t, !denied.HadCredentials)
	assert.ErrorContains(t, err, filepath.Join(home, ".docker", "config.json"))
	assert.Assert(t, errors.As(c.Push(t.Context(), ref, img.Manifest, &m, nil), &denied))
	assert.Assert(t, errors.As(read(t.Context(), c.Source(ref), img.Layers[0].Descriptor), &denied))
	assert.Assert(t, errors.As(read(t.Context(), c.Source(ref), img.Manifest), &denied))

	writeFile(t, login(host, "me", "wrong"), home, ".docker", "config.json")
	_, err = newClient(t, Options{}).Resolve(t.Context(), ref)
	assert.Assert(t, errors.As(err, &denied), "%v", err)
	assert.Assert(t, denied.HadCredentials)
	assert.ErrorContains(t, err, "denied with the credentials")
	assert.Assert(t, !strings.Contains(err.Error(), "wrong"), "%v", err)

	path := writeFile(t, "{", home, ".docker", "config.json")
	_, err = newClient(t, Options{}).Resolve(t.Context(), ref)
	assert.ErrorContains(t, err, "read credentials "+path)
}

// A credential helper that is missing, or fails, is not the same as nobody having logged in.
func TestAuthErrorNamesTheHelper(t *testing.T) {
	host, home := private(t)
	ref := parse(t, host+"/me/app:1")
	bin := filepath.Join(home, "bin")
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	config := writeFile(t, fmt.Sprintf(`{"credHelpers":{%q:"test","other.example":"gone"}}`, host), home, ".docker", "config.json")
	denied := func(want string) {
		t.Helper()
		_, err := newClient(t, Options{}).Resolve(t.Context(), ref)
		var auth *AuthError
		assert.Assert(t, errors.As(err, &auth), "%v", err)
		assert.ErrorContains(t, err, want)
	}
	denied("docker-credential-test, which " + config + " names for " + host + ", is not in PATH")
	helper := writeFile(t, "#!/bin/sh\necho the agent is locked; exit 1\n", home, "bin", "docker-credential-test")
	assert.NilError(t, os.Chmod(helper, 0o755))
	denied("docker-credential-test, which " + config + " names for " + host + ", failed: the agent is locked")
	writeFile(t, "#!/bin/sh\necho credentials not found in native keychain; exit 1\n", home, "bin", "docker-credential-test")
	denied("denied")
	writeFile(t, `{"credsStore":"nowhere"}`, home, ".docker", "config.json")
	denied("docker-credential-nowhere, which " + config + " names for all registries, is not in PATH")
}
