package dockerfile

import (
	"testing"

	"gotest.tools/v3/assert"
)

func TestScript(t *testing.T) {
	tests := map[string]struct {
		src   string
		shell []string
		args  []string
		file  *ScriptFile
	}{
		"shell form":      {src: "RUN a  b", args: []string{"/bin/sh", "-c", "a  b"}},
		"exec form":       {src: `RUN ["a", "b"]`, shell: []string{"x"}, args: []string{"a", "b"}},
		"SHELL":           {src: "RUN a", shell: []string{"bash", "-ec"}, args: []string{"bash", "-ec", "a"}},
		"heredoc":         {src: "RUN <<EOF\necho $a\nb\nEOF", args: []string{"/bin/sh", "-c", "echo $a\nb\n"}},
		"chomped":         {src: "RUN <<-EOF\n\t\ta\n\tb\n\tEOF", args: []string{"/bin/sh", "-c", "a\nb\n"}},
		"shebang":         {src: "RUN <<x\n#!/bin/py\np\nx", args: []string{"/bin/sh", "-c", "/dev/pipes/x"}, file: &ScriptFile{"/dev/pipes/x", "#!/bin/py\np\n"}},
		"chomped shebang": {src: "RUN <<-x\n\t#!/bin/py\n\tx", args: []string{"/bin/sh", "-c", "/dev/pipes/x"}, file: &ScriptFile{"/dev/pipes/x", "#!/bin/py\n"}},
		"with a command":  {src: "RUN <<A cat <<-B\n#!x\nA\n\t1\n\tB", args: []string{"/bin/sh", "-c", "<<A cat <<-B\n#!x\nA\n\t1\nB"}},
		"with a flag":     {src: "RUN --network=none <<EOF\na\nEOF", args: []string{"/bin/sh", "-c", "a\n"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s, err := last(t, "FROM x\n"+tt.src).(*Run).Script(tt.shell)
			assert.NilError(t, err)
			assert.DeepEqual(t, s.Args, tt.args)
			assert.DeepEqual(t, s.File, tt.file)
		})
	}
	_, err := Command{Args: []string{"a", "b"}, Heredocs: []Heredoc{{}}}.Script(nil)
	assert.ErrorContains(t, err, "shell form")
}

// Rows 92-96: the defaults of mounts.
func TestMountDefaults(t *testing.T) {
	mount := func(flag string) Mount {
		i, _ := expandLast(t, "FROM x\nRUN --mount="+flag+" true")
		m, err := i.(*Run).Mounts[0].Resolved("/w")
		assert.NilError(t, err)
		return m
	}
	mode, id := uint32(0o400), uint32(5)
	assert.DeepEqual(t, mount("target=x"), Mount{Type: "bind", Source: "/", Target: "/w/x", ReadOnly: true})
	assert.DeepEqual(t, mount("type=bind,rw,from=s,source=a/../b,dst=/t/"), Mount{Type: "bind", Source: "/b", Target: "/t", From: "s"})
	assert.DeepEqual(t, mount("type=cache,target=c/,uid=5"), Mount{Type: "cache", Source: "/", Target: "/w/c", ID: "c", Sharing: "shared", MountAttributes: MountAttributes{UID: &id}})
	assert.DeepEqual(t, mount("type=cache,id=k,sharing=locked,ro,target=/c"), Mount{Type: "cache", Source: "/", Target: "/c", ID: "k", Sharing: "locked", ReadOnly: true})
	assert.DeepEqual(t, mount("type=tmpfs,size=2m,target=/t"), Mount{Type: "tmpfs", Source: "/", Target: "/t", Size: 2 << 20})
	assert.DeepEqual(t, mount("type=secret,id=a/k"), Mount{Type: "secret", ID: "a/k", Target: "/run/secrets/k", ReadOnly: true, MountAttributes: MountAttributes{Mode: &mode}})
	assert.DeepEqual(t, mount("type=secret,target=t/k,required"), Mount{Type: "secret", ID: "k", Target: "/w/t/k", ReadOnly: true, Required: true, MountAttributes: MountAttributes{Mode: &mode}})
	env := "K"
	assert.DeepEqual(t, mount("type=secret,id=k,env=K"), Mount{Type: "secret", ID: "k", ReadOnly: true, MountAttributes: MountAttributes{Mode: &mode}, Env: &env})
	mode2 := uint32(0o600)
	assert.DeepEqual(t, mount("type=ssh"), Mount{Type: "ssh", ID: "default", ReadOnly: true, MountAttributes: MountAttributes{Mode: &mode2}})

	for flag, want := range map[string]string{
		"type=cache,target=/":     "the target is /",
		"type=bind,target=..":     "the target is /",
		"type=ssh,source=x":       "no source",
		"type=secret,id=a,dst=/.": "the target is /",
	} {
		i, _ := expandLast(t, "FROM x\nRUN --mount="+flag+" true")
		_, err := i.(*Run).Mounts[0].Resolved("/w")
		assert.ErrorContains(t, err, want)
	}
}
