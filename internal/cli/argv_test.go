package cli

import (
	"os"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
)

func normalised(t *testing.T, argv []string) ([]string, error) {
	t.Helper()
	app := newApp(&shell{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr})
	p := argvParser{app: app, stopAtArgs: map[string]bool{"run": true}}
	return p.normalise(append([]string{"cairn"}, argv...))
}

func TestNormalise(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"nothing", "", "help --"},
		{"flags before", "build -t x .", "build --tag=x -- ."},
		{"flags after", "build . -t x", "build --tag=x -- ."},
		{"flags on both sides", "build --no-cache . -t x --build-arg A=1", "build --no-cache=true --tag=x --build-arg=A=1 -- ."},
		{"equals sign", "build --tag=x .", "build --tag=x -- ."},
		{"value with equals sign", "build --build-arg A=b=c .", "build --build-arg=A=b=c -- ."},
		{"comma stays", "build --build-arg A=1,2 .", "build --build-arg=A=1,2 -- ."},
		{"short with value joined", "build -tx .", "build --tag=x -- ."},
		{"short with equals sign", "build -t=x .", "build --tag=x -- ."},
		{"value that looks like a flag", "build -t --no-cache .", "build --tag=--no-cache -- ."},
		{"dash is a positional", "build -", "build -- -"},
		{"dash is a value", "build -f - .", "build --file=- -- ."},
		{"end of flags", "build -t x -- -weird", "build --tag=x -- -weird"},
		{"boolean with value", "build --no-cache=false .", "build --no-cache=false -- ."},
		{"bare optional", "build --pull .", "build --pull=always -- ."},
		{"optional with value", "build --pull=missing .", "build --pull=missing -- ."},
		{"global before", "--root /r build .", "--root=/r build -- ."},
		{"global behind", "build . --root /r", "--root=/r build -- ."},
		{"joined booleans", "run -it image", "run --interactive=true --tty=true -- image"},
		{"joined booleans and value", "run -ite A=b image", "run --interactive=true --tty=true --env=A=b -- image"},
		{"run leaves the command alone", "run --rm image sh -c -t x --rm", "run --rm=true -- image sh -c -t x --rm"},
		{"run leaves -- alone", "run image -- x", "run -- image -- x"},
		{"run with --", "run --rm -- image -x", "run --rm=true -- image -x"},
		{"run -h is the host name", "run -h me image", "run --hostname=me -- image"},
		{"run after the image has no global flags", "run image --root /r", "run -- image --root /r"},
		{"empty value", "run --entrypoint= image", "run --entrypoint= -- image"},
		{"alias of a command", "ls", "images --"},
		{"long alias of a flag", "run --net none image", "run --network=none -- image"},
		{"help", "build --help", "help -- build"},
		{"help before", "--help build", "help -- build"},
		{"help short", "build . -h", "help -- build"},
		{"help command", "help build", "help -- build"},
		{"help is no command of build", "build help", "build -- help"},
		{"version", "--version", "version --"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := normalised(t, strings.Fields(c.in))
			assert.NilError(t, err)
			assert.Equal(t, strings.Join(got[1:], " "), c.want)
		})
	}
}

func TestNormaliseKeepsEmptyArguments(t *testing.T) {
	got, err := normalised(t, []string{"run", "--entrypoint", "", "image", "", "x"})
	assert.NilError(t, err)
	assert.DeepEqual(t, got[1:], []string{"run", "--entrypoint=", "--", "image", "", "x"})
}

func TestNormaliseErrors(t *testing.T) {
	for _, c := range []struct{ in, msg, hint string }{
		{"bild .", `unknown command "bild"`, "did you mean build?"},
		{"xyzzy", `unknown command "xyzzy"`, ""},
		{"build --taget x .", "unknown flag: --taget", "did you mean --target?"},
		{"build -taget x -z .", "unknown shorthand flag: 'z' in -z", ""},
		{"build . -t", "flag needs a value: -t", ""},
		{"build --tag", "flag needs a value: --tag", ""},
		{"build --no-cache=maybe .", `flag --no-cache is true or false, not "maybe"`, ""},
		{"build --t x .", "unknown flag: --t", ""},
		{"run --nme x image", "unknown flag: --nme", "did you mean --name?"},
		{"-- build", "expected a command before --", ""},
	} {
		t.Run(c.in, func(t *testing.T) {
			_, err := normalised(t, strings.Fields(c.in))
			var usage *usageError
			assert.Assert(t, asError(err, &usage), "%v", err)
			assert.Equal(t, usage.Msg, c.msg)
			assert.Equal(t, usage.Hint, c.hint)
		})
	}
}

func TestNearest(t *testing.T) {
	names := []string{"build", "pull", "images", "history"}
	for got, want := range map[string]string{"bulid": "build", "image": "images", "pul": "pull", "zzz": "", "": ""} {
		assert.Equal(t, nearest(got, names), want, got)
	}
}

func FuzzNormalise(f *testing.F) {
	f.Add("build -t x . --no-cache")
	f.Add("run -it image sh -c x")
	f.Add("--root=/r images -q -- x")
	f.Fuzz(func(t *testing.T, line string) {
		argv := strings.Split(line, " ")
		got, err := normalised(t, argv)
		if err != nil {
			return
		}
		// What is in canonical form stays as it is.
		again, err := normalised(t, got[1:])
		assert.NilError(t, err)
		assert.DeepEqual(t, again, got)
	})
}
