package tests

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestHostileTars loads and adds archives with names that lead outside, through "..", from "/", by links and by hard links.
func TestHostileTars(t *testing.T) {
	startCase(t, "userns", "busybox")
	w := newWorld(t)
	w.must("cairn", "load", "-i", busyboxImage(t))
	w.write(map[string]string{"victim/file": "victim"})
	victim := w.path("victim")
	evil := []byte("evil")
	for _, tt := range []struct {
		name    string
		entries []tarEntry
		refused bool
	}{
		{"dotdot", []tarEntry{file("../../../../../../../../.."+victim+"/file", 0o644, evil)}, true},
		{"dotdot below", []tarEntry{dir("a", 0o755), file("a/../../../../../../../../../.."+victim+"/file", 0o644, evil)}, true},
		{"absolute", []tarEntry{file(victim+"/file", 0o644, evil)}, false},
		{"link, then below it", []tarEntry{symlink("l", victim), file("l/file", 0o644, evil)}, false},
		{"relative link", []tarEntry{symlink("l", "../../../../../../../../../.."+victim), file("l/file", 0o644, evil)}, false},
		{"link, then itself", []tarEntry{symlink("l", victim+"/file"), file("l", 0o644, evil)}, false},
		{"hard link outside", []tarEntry{hardlink("h", "../../../../../../../../.."+victim+"/file"), file("h", 0o644, evil)}, true},
		{"hard link through a link", []tarEntry{symlink("l", victim), hardlink("h", "l/file")}, true},
		{"directory over a link", []tarEntry{symlink("l", victim), dir("l", 0o777), file("l/file", 0o644, evil)}, false},
		{"whiteout outside", []tarEntry{symlink("l", victim), file("l/.wh.file", 0, nil)}, false},
		{"whiteout of dotdot", []tarEntry{file(".wh...", 0, nil)}, true},
		{"opaque outside", []tarEntry{symlink("l", victim), file("l/.wh..wh..opq", 0, nil)}, false},
		{"overlay attributes", []tarEntry{dir("d", 0o755).xattr("user.overlay.redirect", victim).xattr("trusted.overlay.redirect", victim)}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := w.on(t)
			layer := w.path("layer.tar")
			if err := writeTar(layer, tt.entries); err != nil {
				t.Fatal(err)
			}
			_ = os.RemoveAll(w.path("layout"))
			base, err := os.ReadFile(filepath.Join(shared.dir, "bin", "busybox-probe"))
			if err != nil {
				t.Fatal(err)
			}
			below := w.path("below.tar")
			if err := writeTar(below, []tarEntry{dir("bin", 0o755), file("bin/sh", 0o755, base), dir("proc", 0o755), dir("sys", 0o755), dir("dev", 0o755)}); err != nil {
				t.Fatal(err)
			}
			if err := writeLayoutOf(w.path("layout"), "evil:latest", imageConfig{}, below, layer); err != nil {
				t.Fatal(err)
			}
			w.try("cairn", "rmi", "-f", "evil")
			o := w.try("cairn", "load", "-i", w.path("layout"))
			if o.err == nil {
				w.write(map[string]string{"run/Dockerfile": "FROM evil\nRUN [\"/bin/sh\", \"-c\", \":\"]\n"})
				o = w.try("cairn", "build", "--no-cache", "run")
			}
			if (o.err != nil) != tt.refused {
				t.Errorf("as a layer: refused is %v: %s", o.err != nil, o)
			}
			data, err := os.ReadFile(layer)
			if err != nil {
				t.Fatal(err)
			}
			w.write(map[string]string{"add/Dockerfile": "FROM busybox\nADD layer.tar /\nRUN true\n", "add/layer.tar": string(data)})
			w.try("cairn", "build", "add")
			if got, err := os.ReadFile(filepath.Join(victim, "file")); err != nil || string(got) != "victim" {
				t.Fatalf("the victim is %q, %v", got, err)
			}
			if names, _ := os.ReadDir(victim); len(names) != 1 {
				t.Fatalf("there is more beside the victim: %v", names)
			}
		})
	}
}

// TestDeviceLayers: devices of a layer keep their place in images, and are none on this machine.
func TestDeviceLayers(t *testing.T) {
	startCase(t, "userns", "busybox")
	w := newWorld(t)
	w.must("cairn", "load", "-i", busyboxImage(t))
	node := func(name string, kind byte, major, minor int64) tarEntry {
		return tarEntry{Header: tar.Header{Typeflag: kind, Name: name, Mode: 0o666, ModTime: epoch, Devmajor: major, Devminor: minor}}
	}
	if err := writeTar(w.path("devices.tar"), []tarEntry{node("zero", tar.TypeChar, 1, 5), node("mem", tar.TypeChar, 1, 1), node("disk", tar.TypeBlock, 254, 0)}); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(w.path("devices.tar"))
	if err != nil {
		t.Fatal(err)
	}
	w.write(map[string]string{
		"ctx/devices.tar": string(data),
		"ctx/Dockerfile":  "FROM busybox\nADD devices.tar /d/\nRUN for d in zero mem disk; do test \"$(head -c 4 /d/$d | wc -c)\" = 0 || exit 1; done\n",
	})
	w.must("cairn", "build", "-t", "devices", "ctx")
	err = filepath.WalkDir(w.root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.Type()&fs.ModeDevice == 0 {
			return nil
		}
		info, err := e.Info()
		if err == nil && info.Sys().(*syscall.Stat_t).Rdev != 0 { // 0:0 is overlayfs's whiteout
			return fmt.Errorf("%s is a device", path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestSwapWhileCopying changes files and directories of the context into links, again and again, while it is being copied.
func TestSwapWhileCopying(t *testing.T) {
	startCase(t)
	w := newWorld(t)
	w.write(map[string]string{"victim/file": "SECRET", "ctx/Dockerfile": "FROM scratch\nCOPY . /\n", "ctx/dir/file": "public", "ctx/file": "public"})
	for i := range 200 {
		w.write(map[string]string{fmt.Sprintf("ctx/dir/%d", i): "public", fmt.Sprintf("victim/%d", i): "SECRET"})
	}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
			}
			_ = os.Symlink("../victim/file", w.path("ctx/swap"))
			_ = os.Rename(w.path("ctx/swap"), w.path("ctx/file"))
			_ = os.Rename(w.path("ctx/dir"), w.path("aside"))
			_ = os.Symlink("../victim", w.path("ctx/dir"))
			time.Sleep(time.Millisecond)
			_ = os.Remove(w.path("ctx/dir"))
			_ = os.Rename(w.path("aside"), w.path("ctx/dir"))
			_ = os.WriteFile(w.path("ctx/swap"), []byte("public"), 0o644)
			_ = os.Rename(w.path("ctx/swap"), w.path("ctx/file"))
			time.Sleep(time.Millisecond)
		}
	}()
	good, changed := 0, 0
	for i := range 25 {
		out := w.path(fmt.Sprint("out", i))
		o := w.try("cairn", "build", "--no-cache", "--output", "type=tar,dest="+out, "ctx")
		if o.err == nil {
			good++
		} else {
			changed++
		}
		data, _ := os.ReadFile(out)
		if bytes.Contains(data, []byte("SECRET")) {
			t.Errorf("what a link leads to was copied: %s", o)
			break
		}
	}
	close(stop)
	<-done
	t.Logf("%d builds went well, %d found that the context changed", good, changed)
}

// TestSecretsLeaveNoTrace looks for a secret everywhere after builds that went well and that failed.
func TestSecretsLeaveNoTrace(t *testing.T) {
	startCase(t, "userns", "busybox")
	const secret = "Xo7-the-secret-value-9qZ"
	w := newWorld(t)
	w.must("cairn", "load", "-i", busyboxImage(t))
	w.write(map[string]string{
		"outside/secret": secret,
		"ctx/Dockerfile": "FROM busybox\n" +
			"RUN --mount=type=secret,id=a test -s /run/secrets/a && cp /bin/busybox /copy\n" +
			"RUN --mount=type=secret,id=b,env=B --mount=type=secret,id=a,target=/etc/secret,mode=0444 test -n \"$B\" && test -s /etc/secret\n" +
			"RUN test -n \"$HTTP_PROXY\"\n",
		"ctx/failing.Dockerfile": "FROM busybox\nRUN --mount=type=secret,id=a --mount=type=secret,id=b,env=B test -s /run/secrets/a && false\n",
	})
	w.env = append(w.env, "B="+secret+"-env")
	flags := []string{"--secret", "id=a,src=" + w.path("outside/secret"), "--secret", "id=b,env=B", "--build-arg", "HTTP_PROXY=http://user:" + secret + "@proxy:1"}
	search := func(what, text string) {
		t.Helper()
		if strings.Contains(text, secret) {
			t.Errorf("the secret is in %s", what)
		}
	}
	for _, argv := range [][]string{
		append([]string{"cairn", "build", "--progress=plain", "-t", "me/secret"}, flags...),
		append([]string{"cairn", "build", "--progress=rawjson", "--no-cache", "-t", "me/secret"}, flags...),
		append([]string{"cairn", "build", "--progress=plain", "-f", "ctx/failing.Dockerfile"}, flags...),
	} {
		o := w.try(append(argv, "ctx")...)
		if wantErr := strings.Contains(strings.Join(argv, " "), "failing"); (o.err != nil) != wantErr {
			t.Fatalf("%s", o)
		}
		search("what the build said", o.String())
	}
	search("the history", w.must("cairn", "history", "--no-trunc", "me/secret").stdout)
	search("the config", w.must("cairn", "inspect", "me/secret").stdout)
	w.must("cairn", "save", "--format", "docker", "-o", w.path("saved.tar"), "me/secret")
	files := 0
	for _, root := range []string{w.root, w.path("saved.tar")} {
		_ = filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
			if err != nil || !e.Type().IsRegular() {
				return nil
			}
			data, err := os.ReadFile(path)
			if err != nil {
				return nil
			}
			files++
			search(path, string(data))
			if z, err := gzip.NewReader(bytes.NewReader(data)); err == nil {
				plain, _ := io.ReadAll(z)
				search(path+", unpacked", string(plain))
			}
			return nil
		})
	}
	if files < 10 {
		t.Errorf("only %d files were searched", files)
	}
}

// TestStoreIsPrivate: a setuid file of an image would be setuid-you for everybody who reached it.
func TestStoreIsPrivate(t *testing.T) {
	startCase(t)
	w := newWorld(t)
	w.write(map[string]string{"ctx/Dockerfile": "FROM scratch\nCOPY --chmod=4755 tool /tool\n", "ctx/tool": "#!/bin/sh\n"})
	w.must("cairn", "build", "-t", "setuid", "ctx")
	info, err := os.Stat(w.root)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Fatalf("the store is %v, %v", info.Mode(), err)
	}
	if err := os.Chmod(w.root, 0o755); err != nil {
		t.Fatal(err)
	}
	w.fails([]string{"0700"}, "cairn", "images")
	w.fails([]string{"0700"}, "cairn", "build", "ctx")
	if err := os.Chmod(w.root, 0o700); err != nil {
		t.Fatal(err)
	}
	// Somebody else's directory under the name of ours, or behind a link.
	if os.Getuid() != 0 {
		w.useRoot("/var")
		w.fails(nil, "cairn", "images")
		if err := os.Symlink("/var", w.path("link")); err != nil {
			t.Fatal(err)
		}
		w.useRoot(w.path("link"))
		w.fails(nil, "cairn", "images")
	}
}
