// Package doctor finds out what this machine lets cairn do, by doing it: what works, what does not, what that costs, and the
// command or the file that changes it, for somebody who is root and for somebody who is not.
//
// The same table of remedies gives the hints of failed builds.
package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/cairnbuild/cairn/sandbox"
)

// Status is how a facility fares.
type Status string

// The values of Status.
const (
	OK      Status = "ok"
	Lesser  Status = "lesser"  // something else takes its place, at a cost
	Missing Status = "missing" // what needs it does not work
)

// Finding is one line of the report.
type Finding struct {
	Name   string `json:"name"`
	Status Status `json:"status"`
	// Detail says what was found, or what failed.
	Detail string `json:"detail,omitempty"`
	// Cost says what it means for builds; empty when it is OK.
	Cost string `json:"cost,omitempty"`
	// Fixes are alternatives.
	Fixes []Fix `json:"fixes,omitempty"`
}

// Fix is a way to a better Status.
type Fix struct {
	// Who can do it: "root", "you", or "container" for whoever starts the container that this is.
	Who string `json:"who"`
	// Do is a command, or says what to write where.
	Do string `json:"do"`
}

// The values of Fix.Who.
const (
	Root      = "root"
	You       = "you"
	Container = "container"
)

// Report is the outcome of an examination.
type Report struct {
	// Works says that builds with RUN work, on whatever rung.
	Works    bool      `json:"works"`
	Machine  Machine   `json:"machine"`
	Findings []Finding `json:"findings"`
}

// Options say what to examine.
type Options struct {
	// StoreRoot is the data directory; it need not exist.
	StoreRoot string
	// Inside is the command line, the program's name first, with which this program calls Inside when it is started in a
	// namespace.
	Inside []string
}

// Examine tries everything. It starts this program again several times (sandbox.Enter) and takes a second or so. What it makes
// in the data directory it removes. An error is only that of ctx.
func Examine(ctx context.Context, o Options) (Report, error) {
	r := Report{Machine: ThisMachine()}
	m := &r.Machine
	best := enter(ctx, o, sandbox.IDsAuto, sandbox.IsolationAuto)
	r.Works = best.err == nil && best.answer.Ran == ""
	r.add(usernsFinding(ctx, o, m), mapFinding(ctx, o, m), emulationFinding(ctx, o, r.Works))
	r.add(best.findings(m)...)
	r.add(storeFinding(o.StoreRoot), cgroupFinding(m), gitFinding(m))
	r.add(credentialFindings()...)
	r.add(runFinding(m, best))
	return r, ctx.Err()
}

func (r *Report) add(findings ...Finding) { r.Findings = append(r.Findings, findings...) }

// visit is one start in a namespace.
type visit struct {
	err     error
	answer  Answer
	notices []string
}

// enter starts this program in a namespace and reads its answer.
func enter(ctx context.Context, o Options, ids sandbox.IDMode, isolation sandbox.Isolation) visit {
	var v visit
	r, w, err := os.Pipe()
	if err != nil {
		return visit{err: err}
	}
	defer r.Close()
	read := make(chan []byte, 1)
	go func() {
		b, _ := io.ReadAll(r) // a short answer is one that can't be decoded
		read <- b
	}()
	status, err := sandbox.Enter(ctx, sandbox.EnterOptions{
		Args: o.Inside, Stdout: w, IDs: ids, Isolation: isolation,
		Notice: func(s string) { v.notices = append(v.notices, s) },
	})
	w.Close()
	b := <-read
	switch {
	case err != nil:
		v.err = err
	case status != 0:
		v.err = fmt.Errorf("the program in the namespace ended with status %d", status)
	default:
		v.err = json.Unmarshal(b, &v.answer)
	}
	return v
}

// setupOf returns the SetupError in err, or an empty one.
func setupOf(err error) *sandbox.SetupError {
	var e *sandbox.SetupError
	if errors.As(err, &e) {
		return e
	}
	return &sandbox.SetupError{}
}
