package tests

import (
	"fmt"
	"strings"
	"sync"
	"testing"
)

// atOnce runs n programs at the same time; all must succeed.
func (w *world) atOnce(n int, argv func(i int) []string) []output {
	w.t.Helper()
	outputs := make([]output, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Add(1)
		go func() {
			defer wg.Done()
			outputs[i] = w.try(argv(i)...)
		}()
	}
	wg.Wait()
	for i, o := range outputs {
		if o.err != nil {
			w.t.Errorf("%s: %s", strings.Join(argv(i), " "), o)
		}
	}
	return outputs
}

// TestTogether runs several cairns on one store.
func TestTogether(t *testing.T) {
	startCase(t, "userns", "busybox", "umoci")
	w := newWorld(t)
	w.must("cairn", "load", "-i", busyboxImage(t))
	w.write(map[string]string{
		"a/Dockerfile": "FROM busybox\nRUN echo shared > /shared; sleep 0.5\nRUN echo a > /a; sleep 0.5\n",
		"b/Dockerfile": "FROM busybox\nRUN echo shared > /shared; sleep 0.5\nRUN echo b > /b; sleep 0.5\n",
	})
	// Two different builds that begin with the same step: one of them runs it.
	w.atOnce(2, func(i int) []string {
		name := string(rune('a' + i))
		return []string{"cairn", "build", "--progress=plain", "-t", "me/" + name, name}
	})
	for _, name := range []string{"a", "b"} {
		if got := w.must("cairn", "run", "--rm", "me/"+name, "cat", "/shared", "/"+name).stdout; got != "shared\n"+name+"\n" {
			t.Errorf("me/%s says %q", name, got)
		}
	}
	// Four times the same build: one result.
	w.write(map[string]string{"c/Dockerfile": "FROM busybox\nRUN head -c 100000 /dev/urandom > /random; sleep 0.3\nCOPY f /\n", "c/f": "f"})
	outputs := w.atOnce(4, func(i int) []string {
		return []string{"cairn", "build", "-q", "-t", fmt.Sprintf("me/c:%d", i), "c"}
	})
	var layers []string
	for i := range outputs {
		_, m, err := readManifest(w.oci(), fmt.Sprintf("me/c:%d", i))
		if err != nil {
			t.Fatal(err)
		}
		layers = append(layers, m.Layers[1].Digest)
	}
	for _, l := range layers {
		if l != layers[0] {
			t.Errorf("the same step ran more than once: %v", layers)
		}
	}
	w.umociReads("after builds at once", "me/a:latest", "me/b:latest", "me/c:0", "me/c:1", "me/c:2", "me/c:3")

	var want []string
	for i := range 20 {
		want = append(want, fmt.Sprintf("me/tagged:%d", i))
	}
	w.atOnce(len(want), func(i int) []string { return []string{"cairn", "tag", "me/a", want[i]} })
	w.umociReads("after 20 tags at once", want...)
	images := w.must("cairn", "images").stdout
	if got := strings.Count(images, "me/tagged"); got != len(want) {
		t.Errorf("cairn images shows %d of %d tags:\n%s", got, len(want), images)
	}
	w.noLeftovers("after all")
}
