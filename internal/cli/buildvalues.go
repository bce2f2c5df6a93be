package cli

import (
	"encoding/csv"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cairnbuild/cairn/internal/engine"
)

// csvFields reads the value of a flag such as -o: KEY=VALUE pairs with commas, quoted as in CSV.
func csvFields(s string) ([][2]string, error) {
	records, err := csv.NewReader(strings.NewReader(s)).Read()
	if err != nil {
		return nil, fmt.Errorf("read %q: %w", s, err)
	}
	var list [][2]string
	for _, f := range records {
		key, value, _ := strings.Cut(f, "=")
		list = append(list, [2]string{strings.ToLower(strings.TrimSpace(key)), value})
	}
	return list, nil
}

// output reads -o, the tags, the compression and the annotations.
func (r *buildFlagReader) output() engine.Output {
	var o engine.Output
	names := r.StringSlice("tag")
	algorithm, level := r.String("compression"), r.String("compression-level")
	r.annotations(&o)
	for _, s := range r.StringSlice("output") {
		e, extra, err := parseExport(s)
		if err != nil {
			r.fail("read --output: %v", err)
			continue
		}
		names = append(names, extra.names...)
		for k, v := range extra.annotations {
			o.Annotations[k] = v
		}
		for _, c := range []struct {
			flag *string
			got  string
		}{{&algorithm, extra.compression}, {&level, extra.level}} {
			if c.got != "" && *c.flag != "" && c.got != *c.flag {
				r.fail("layers are compressed in one way per build: %s and %s are two", *c.flag, c.got)
			}
			if c.got != "" {
				*c.flag = c.got
			}
		}
		if e.Type != "image" {
			o.Exports = append(o.Exports, e)
		}
	}
	if writers := countStdout(o.Exports); writers > 1 {
		r.fail("standard output takes one --output, not %d", writers)
	}
	o.Compression = r.compression(algorithm, level)
	tags, err := parseTags(names)
	if err != nil {
		r.fail("%v", err)
	}
	o.Tags = tags
	return o
}

// exportExtra are attributes of -o that belong to the whole build.
type exportExtra struct {
	names              []string
	compression, level string
	annotations        map[string]string
}

// parseExport reads one -o value: attributes, or a path alone: a directory, or - for a tar on standard output. Type "image"
// is what happens anyway.
func parseExport(s string) (engine.Export, exportExtra, error) {
	e, extra := engine.Export{Tar: true}, exportExtra{annotations: map[string]string{}}
	if s == "-" {
		return engine.Export{Type: "tar", Dest: "-", Tar: true}, extra, nil
	}
	list, err := csvFields(s)
	if err != nil {
		return e, extra, err
	}
	if len(list) == 1 && !strings.Contains(s, "=") {
		return engine.Export{Type: "local", Dest: s}, extra, nil
	}
	for _, kv := range list {
		if err := setExport(&e, &extra, kv[0], kv[1]); err != nil {
			return e, extra, err
		}
	}
	return e, extra, completeExport(&e)
}

func setExport(e *engine.Export, extra *exportExtra, key, value string) error {
	switch key {
	case "type":
		e.Type = value
	case "dest":
		e.Dest = value
	case "tar":
		tar, err := strconv.ParseBool(value)
		if err != nil {
			return fmt.Errorf("tar is true or false, not %q", value)
		}
		e.Tar = tar
	case "name":
		for _, n := range strings.Split(value, ",") {
			extra.names = append(extra.names, n)
		}
	case "compression":
		extra.compression = value
	case "compression-level":
		extra.level = value
	case "push":
		if value != "false" {
			return fmt.Errorf("cairn cannot push yet: copy the image from the store with skopeo")
		}
	default:
		if name, ok := strings.CutPrefix(key, "annotation."); ok && name != "" {
			extra.annotations[name] = value
			return nil
		}
		return fmt.Errorf("unknown attribute %q: there are type, dest, tar, name, compression, compression-level and annotation.KEY", key)
	}
	return nil
}

// completeExport checks the type and fills in the default destination.
func completeExport(e *engine.Export) error {
	switch e.Type {
	case "oci", "docker", "tar":
		if e.Dest == "" {
			e.Dest = "-"
		}
		if e.Type != "oci" && !e.Tar {
			return fmt.Errorf("tar=false is for type=oci")
		}
		if !e.Tar && e.Dest == "-" {
			return fmt.Errorf("type=oci,tar=false needs a dest: it is a directory")
		}
	case "local":
		e.Tar = false
		if e.Dest == "" || e.Dest == "-" {
			return fmt.Errorf("type=local needs a dest: it is a directory")
		}
	case "image":
		if e.Dest != "" {
			return fmt.Errorf("type=image has no dest: the image goes into the store")
		}
	case "":
		return fmt.Errorf("a type is missing: oci, docker, local or tar")
	case "registry":
		return fmt.Errorf("cairn cannot push yet: copy the image from the store with skopeo")
	default:
		return fmt.Errorf("unknown type %q: there are oci, docker, local, tar and image", e.Type)
	}
	return nil
}

// annotations are KEY=VALUE, perhaps with levels and a colon before it: "manifest:", "index:", "manifest,index:".
func (r *buildFlagReader) annotations(o *engine.Output) {
	levels := map[string]*map[string]string{
		"manifest": &o.Annotations, "index": &o.IndexAnnotations, "manifest-descriptor": &o.DescriptorAnnotations,
	}
	for _, m := range levels {
		*m = map[string]string{}
	}
	for _, s := range r.StringSlice("annotation") {
		key, value, ok := strings.Cut(s, "=")
		level, name, found := strings.Cut(key, ":")
		if !found {
			level, name = "manifest", key
		}
		if name == "" || !ok {
			r.fail("--annotation %q is not KEY=VALUE", s)
		}
		for _, l := range strings.Split(level, ",") {
			to, known := levels[l]
			if !known {
				r.fail("--annotation knows the levels manifest, index and manifest-descriptor, not %q", l)
				continue
			}
			(*to)[name] = value
		}
	}
}

// secrets are id=ID[,src=FILE][,env=NAME][,type=file|env]; without a source the ID names one: an environment variable, or a file.
func (r *buildFlagReader) secrets() []engine.Secret {
	var list []engine.Secret
	for _, s := range r.StringSlice("secret") {
		secret, err := parseSecret(s, os.LookupEnv)
		if err != nil {
			r.fail("read --secret: %v", err)
		}
		list = append(list, secret)
	}
	return list
}

func parseSecret(s string, lookup func(string) (string, bool)) (engine.Secret, error) {
	var secret engine.Secret
	fields, err := csvFields(s)
	if err != nil {
		return secret, err
	}
	kind := ""
	for _, kv := range fields {
		switch kv[0] {
		case "id":
			secret.ID = kv[1]
		case "src", "source":
			secret.File = kv[1]
		case "env":
			secret.Env = kv[1]
		case "type":
			kind = kv[1]
			if kind != "file" && kind != "env" {
				return secret, fmt.Errorf("type is file or env, not %q", kind)
			}
		default:
			return secret, fmt.Errorf("unknown attribute %q: there are id, src, env and type", kv[0])
		}
	}
	if secret.ID == "" {
		return secret, fmt.Errorf("%q has no id", s)
	}
	if kind == "env" && secret.Env == "" {
		secret.Env, secret.File = secret.File, ""
	}
	if secret.File == "" && secret.Env == "" {
		if _, ok := lookup(secret.ID); ok && kind != "file" {
			secret.Env = secret.ID
		} else {
			secret.File = secret.ID
		}
	}
	if secret.File != "" && secret.Env != "" {
		return secret, fmt.Errorf("%q has two sources", s)
	}
	if secret.File != "" {
		if secret.File, err = filepath.Abs(secret.File); err != nil {
			return secret, err
		}
		if _, err := os.Stat(secret.File); err != nil {
			return secret, fmt.Errorf("secret %s: %w", secret.ID, err)
		}
	}
	return secret, nil
}

// ssh are default, ID, or ID=PATH[,PATH]: an agent's socket or keys.
func (r *buildFlagReader) ssh() []engine.SSH {
	var list []engine.SSH
	for _, s := range r.StringSlice("ssh") {
		id, paths, ok := strings.Cut(s, "=")
		if id == "" {
			r.fail("--ssh %q has no id", s)
		}
		entry := engine.SSH{ID: id}
		switch {
		case ok && paths != "":
			entry.Paths = strings.Split(paths, ",")
		case os.Getenv("SSH_AUTH_SOCK") != "":
			entry.Paths = []string{os.Getenv("SSH_AUTH_SOCK")}
		default:
			r.fail("--ssh %s needs an agent: SSH_AUTH_SOCK is not set", s)
		}
		list = append(list, entry)
	}
	return list
}

// parseHost reads NAME:IP or NAME=IP and returns NAME:IP.
func parseHost(s string) (string, error) {
	name, ip, ok := strings.Cut(s, "=")
	if !ok {
		name, ip, ok = strings.Cut(s, ":")
	}
	if ip == "host-gateway" {
		ip = "127.0.0.1" // RUN shares the host's network
	}
	ip = strings.TrimSuffix(strings.TrimPrefix(ip, "["), "]")
	if !ok || name == "" || net.ParseIP(ip) == nil {
		return "", fmt.Errorf("%q is not NAME:IP", s)
	}
	return name + ":" + ip, nil
}
