package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/opencontainers/go-digest"
)

// touchAfter is how old a record's time of last use may grow before a look-up renews it.
const touchAfter = 10 * time.Minute

// Step is the record of a step that was done: what it was given and what came of it.
type Step struct {
	// Key is what the step is cached under.
	Key digest.Digest
	// Layer is the id of the layer it made, empty if it made none.
	Layer string `json:",omitempty"`
	// Inputs are what went into the key, for people who ask why a step was not cached.
	Inputs []Input `json:",omitempty"`
	// Created is when it was done.
	Created time.Time
	// Description is the instruction as the user reads it.
	Description string `json:",omitempty"`
	// Extra is the engine's own.
	Extra map[string]string `json:",omitempty"`
}

// Input is one ingredient of a key: a file, a variable, the layers below.
type Input struct {
	Name   string
	Digest digest.Digest `json:",omitempty"`
	// Detail is what a person compares: "mode 755", a variable's value, a link's target.
	Detail string `json:",omitempty"`
}

// record is a Step on disk: a line of JSON without the inputs, and a line with them. A look-up reads the first line only; the second
// has as many entries as a COPY has files.
type record struct {
	// Version is recordVersion.
	Version int
	// Boot is set while the layer is not durable: the record counts only until the machine stops.
	Boot string `json:",omitempty"`
	Step
}

const recordVersion = 2

// stepName is the path of a key's record below the root; suffix ".hint" that of its hint.
func stepName(key digest.Digest, suffix string) []string {
	return []string{"steps", key.Encoded()[:2], key.Encoded() + suffix}
}

// PutStep writes a record, in place of one with the same key. While the layer is not durable (see Sync) the record counts
// only until the machine stops. The layer must exist.
func (s *Store) PutStep(step Step) error {
	if err := step.Key.Validate(); err != nil {
		return fmt.Errorf("write step record: key %q: %w", step.Key, err)
	}
	r := record{Version: recordVersion, Step: step}
	if step.Layer != "" {
		boot, err := s.layerBoot(step.Layer)
		if err != nil {
			return fmt.Errorf("write step record: %w", err)
		}
		r.Boot = boot
	}
	if err := s.writeRecord(r); err != nil {
		return fmt.Errorf("write step record: %w", err)
	}
	if r.Boot != "" {
		s.mu.Lock()
		s.fresh.steps[step.Key] = true
		s.mu.Unlock()
	}
	return nil
}

func (s *Store) writeRecord(r record) error {
	inputs, err := json.Marshal(r.Inputs)
	if err != nil {
		return err
	}
	r.Inputs = nil
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	data = append(append(data, '\n'), inputs...)
	return s.writeFile(data, false, stepName(r.Key, "")...)
}

// readHead returns the record of a key as it is on disk, without its inputs.
func (s *Store) readHead(key digest.Digest) (record, error) { return s.readParts(key, false) }

// readRecord returns the record of a key as it is on disk.
func (s *Store) readRecord(key digest.Digest) (record, error) { return s.readParts(key, true) }

func (s *Store) readParts(key digest.Digest, inputs bool) (record, error) {
	var r record
	if err := key.Validate(); err != nil {
		return r, err
	}
	f, err := os.Open(s.path(stepName(key, "")...))
	if err != nil {
		return r, err
	}
	defer f.Close()
	what := "step record " + key.String()
	dec := json.NewDecoder(f)
	if err := dec.Decode(&r); err != nil {
		return r, &DamagedError{What: what, Err: err}
	}
	switch {
	case r.Version != recordVersion:
		return r, &DamagedError{What: what, Err: fmt.Errorf("version %d", r.Version)}
	case r.Key != key:
		return r, &DamagedError{What: what, Err: fmt.Errorf("it is of key %q", r.Key)}
	case r.Layer != "" && !validID(r.Layer):
		return r, &DamagedError{What: what, Err: errors.New("the layer id is malformed")}
	}
	if !inputs {
		return r, nil
	}
	if err := dec.Decode(&r.Inputs); err != nil {
		return r, &DamagedError{What: what, Err: err}
	}
	return r, nil
}

// StepInputs returns what went into a key, from its record. A key without a record is fs.ErrNotExist.
func (s *Store) StepInputs(key digest.Digest) ([]Input, error) {
	r, err := s.readRecord(key)
	return r.Inputs, err
}

// LookupStep returns the record of a key if there is one that can be used now: its layer is here with its index and with content
// that this process can read, or, if it is in no user namespace, root in its user's could. The layer stays until the Store is closed. The
// inputs are left out: see StepInputs.
func (s *Store) LookupStep(key digest.Digest) (Step, bool) {
	r, err := s.readHead(key)
	if err != nil || (r.Boot != "" && r.Boot != s.host.boot) {
		return Step{}, false
	}
	if r.Layer != "" && !s.retain(r.Layer) {
		return Step{}, false
	}
	s.touch(stepName(key, ""))
	return r.Step, true
}

// touch renews a record's time of last use, by which the collector judges.
func (s *Store) touch(name []string) {
	path := s.path(name...)
	info, err := os.Stat(path)
	if err != nil || time.Since(info.ModTime()) < touchAfter {
		return
	}
	os.Chtimes(path, time.Time{}, time.Now()) // at worst it is collected early
}

// PutHint notes that there is a record for a step defined like this: key is the record's, def a key chained on definitions.
func (s *Store) PutHint(def, key digest.Digest) error {
	if err := errors.Join(def.Validate(), key.Validate()); err != nil {
		return fmt.Errorf("write hint: %w", err)
	}
	if err := s.writeFile([]byte(key.String()), false, stepName(def, ".hint")...); err != nil {
		return fmt.Errorf("write hint: %w", err)
	}
	return nil
}

// HasHint says whether PutHint was called for def and the record it told of is still there.
func (s *Store) HasHint(def digest.Digest) bool {
	if def.Validate() != nil {
		return false
	}
	key, err := s.readHint(stepName(def, ".hint"))
	if err != nil {
		return false
	}
	_, err = os.Stat(s.path(stepName(key, "")...))
	if err != nil {
		return false
	}
	s.touch(stepName(def, ".hint"))
	return true
}

func (s *Store) readHint(name []string) (digest.Digest, error) {
	data, err := os.ReadFile(s.path(name...))
	if err != nil {
		return "", err
	}
	key := digest.Digest(data)
	return key, key.Validate()
}
