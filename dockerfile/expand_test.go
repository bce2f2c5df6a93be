package dockerfile

import (
	"strings"
	"testing"

	"gotest.tools/v3/assert"
)

// Row 59: the operators; row 61: quoting.
func TestWord(t *testing.T) {
	env := NewVars([]string{"v=a/b.tar.gz", "e=", "star=a*b", "n=v"})
	tests := []struct{ word, want string }{
		{"$v", "a/b.tar.gz"},
		{"${v}x", "a/b.tar.gzx"},
		{"${u:-w}", "w"},
		{"${e:-w}", "w"},
		{"${e-w}", ""},
		{"${u-w}", "w"},
		{"${e:+w}", ""},
		{"${e+w}", "w"},
		{"${u+w}", ""},
		{"${v:?no}", "a/b.tar.gz"},
		{"${e?no}", ""},
		{"${v#*/}", "b.tar.gz"},
		{"${v#*.}", "tar.gz"},
		{"${v##*.}", "gz"},
		{"${v%.*}", "a/b.tar"},
		{"${v%%.*}", "a/b"},
		{"${v/a/x}", "x/b.tar.gz"},
		{"${v//a/x}", "x/b.txr.gz"},
		{`${star/\*/x}`, "axb"},
		{"${u:-${e:-${v%%/*}}}", "a"},
		{"'$v'", "$v"},
		{`"$e'x'"`, "'x'"},
		{`\$v`, "$v"},
		{`"\$v"`, "$v"},
		{"$u", ""},
		{"a b  c", "a b  c"},
		{"$", "$"},
	}
	for _, tt := range tests {
		got, _, err := NewLex('\\').Word(tt.word, env)
		assert.NilError(t, err, tt.word)
		assert.Equal(t, got, tt.want, tt.word)
	}
	got, _, err := NewLex('`').Word("`$v \\$n", env)
	assert.NilError(t, err)
	assert.Equal(t, got, `$v \v`)
	for _, bad := range []string{"${u:?why}", "${u?}", "${e:?}", "${v", "'a", `"a`, "${v:#x}", "${}"} {
		_, _, err := NewLex('\\').Word(bad, env)
		assert.Assert(t, err != nil, bad)
	}
	e, err := NewLex('\\').Expand("$z$v$a${e:-$u}", env)
	assert.NilError(t, err)
	assert.DeepEqual(t, e.Used, []string{"e", "v"})
	assert.DeepEqual(t, e.Undefined, []string{"a", "u", "z"})
}

func TestVars(t *testing.T) {
	a := NewVars([]string{"x=1", "y", "x=2=3"})
	b := a.With("y", "5").With("z", "6")
	assert.DeepEqual(t, a.Slice(), []string{"x=2=3", "y="})
	assert.DeepEqual(t, b.Slice(), []string{"x=2=3", "y=5", "z=6"})
	assert.DeepEqual(t, b.Keys(), []string{"x", "y", "z"})
}

func expandLast(t *testing.T, src string, env ...string) (Instruction, []string) {
	t.Helper()
	i, undefined, err := expandInstruction(last(t, src), NewLex('\\'), NewVars(env))
	assert.NilError(t, err)
	return i, undefined
}

// Row 60: where variables are expanded, and where not.
func TestExpand(t *testing.T) {
	i, undefined := expandLast(t, "FROM x\nENV a=1 b=$a $k='$a'", "a=old", "k=key")
	assert.DeepEqual(t, i.(*Env).Pairs, []KeyValue{{"a", "1"}, {"b", "old"}, {"key", "$a"}}) // row 62
	assert.Equal(t, len(undefined), 0)

	i, undefined = expandLast(t, "FROM x\nLABEL $k=$u", "k=key")
	assert.DeepEqual(t, i.(*Label).Pairs, []KeyValue{{"key", ""}})
	assert.DeepEqual(t, undefined, []string{"u"})

	i, _ = expandLast(t, "FROM x\nCOPY --chown=$u --chmod=$m --exclude=$u $s <<a <<'b' $d\n$s \"x\" \\$s\na\n$s\nb\n", "u=1", "m=644", "s=src", "d=dst")
	c := i.(*Copy)
	assert.DeepEqual(t, []string{c.Chown, c.Chmod, c.Sources[0], c.Dest, c.Exclude[0]}, []string{"1", "644", "src", "dst", "$u"})
	assert.Equal(t, c.Heredocs[0].Content, "src \"x\" $s\n")
	assert.Equal(t, c.Heredocs[1].Content, "$s\n")
	assert.Equal(t, c.Range(), Range{2, 6})

	i, _ = expandLast(t, "FROM x\nADD --checksum=$c https://h/$c /", "c=sha256:1")
	assert.DeepEqual(t, []string{i.(*Copy).Checksum, i.(*Copy).Sources[0]}, []string{"sha256:1", "https://h/sha256:1"})

	i, undefined = expandLast(t, "FROM x\nRUN --mount=type=$t,id=$u,target=/a/$t echo $t", "t=cache")
	r := i.(*Run)
	assert.DeepEqual(t, r.Mounts, []Mount{{Type: "cache", Target: "/a/cache"}})
	assert.DeepEqual(t, r.Args, []string{"echo $t"})
	assert.DeepEqual(t, undefined, []string{"u"})

	for _, src := range []string{"CMD $a", "ENTRYPOINT $a", "HEALTHCHECK CMD $a", `SHELL ["$a"]`, "ONBUILD RUN $a", "ARG b=$a", "MAINTAINER $a"} {
		parsed := last(t, "FROM x\n"+src)
		i, undefined, err := expandInstruction(parsed, NewLex('\\'), Vars{})
		assert.NilError(t, err)
		assert.Equal(t, i, parsed)
		assert.Equal(t, len(undefined), 0)
	}
	for src, want := range map[string]string{
		"USER $a": "USER v", "WORKDIR /$a": "WORKDIR /v", "VOLUME $a /$a": "VOLUME [v /v]", "STOPSIGNAL $s": "STOPSIGNAL 9", "EXPOSE $p": "EXPOSE [1/tcp 2/tcp 3/udp]",
	} {
		i, _ := expandLast(t, "FROM x\n"+src, "a=v", "s=9", "p=1-2 3/UDP")
		assert.Equal(t, history(i), want)
	}
}

// history calls the History method of the types that need nothing else.
func history(i Instruction) string {
	switch i := i.(type) {
	case *Workdir:
		return i.History(i.Dir("/"))
	case interface{ History() string }:
		return i.History()
	}
	return ""
}

func TestExpandLeavesTheParsed(t *testing.T) {
	parsed := last(t, "FROM x\nCOPY $a <<d $b\n$a\nd\n").(*Copy)
	for _, v := range []string{"1", "2"} {
		i, _, err := expandInstruction(parsed, NewLex('\\'), NewVars([]string{"a=" + v, "b=" + v}))
		assert.NilError(t, err)
		assert.DeepEqual(t, []string{i.(*Copy).Sources[0], i.(*Copy).Dest, i.(*Copy).Heredocs[0].Content}, []string{v, v, v + "\n"})
	}
	assert.DeepEqual(t, []string{parsed.Sources[0], parsed.Dest, parsed.Heredocs[0].Content}, []string{"$a", "$b", "$a\n"})
}

func TestExpandErrors(t *testing.T) {
	for src, want := range map[string]string{
		"USER ${a:?who}":                                          "who",
		"COPY https://a/b /":                                      "COPY takes no URL",
		"COPY git@h:a.git /":                                      "COPY takes no URL",
		"COPY --link --chown=me a b":                              "names cannot be looked up",
		"COPY --chmod=99 a b":                                     "--chmod=99",
		"COPY --chmod=17777 a b":                                  "at most 07777",
		"COPY --chmod=u=q a b":                                    "--chmod=u=q",
		"ADD --checksum=sha256:1 a b":                             "needs an http(s) or git source",
		"ADD --checksum=sha256:1 http://a http://b /":             "exactly one source",
		"ADD https://h/r.git?nonsense=1 /":                        "unexpected query",
		"ADD --checksum=1 https://h/r.git?checksum=2 /":           "differ",
		"ADD --keep-git-dir https://h/r.git?keep-git-dir=false /": "differ",
		"STOPSIGNAL SIGNOT":                                       "invalid signal",
		"STOPSIGNAL 0":                                            "invalid signal",
		"VOLUME $u":                                               "a VOLUME path is empty",
		"EXPOSE 80/icmp":                                          "unknown protocol icmp",
		"EXPOSE 70000":                                            "no number from 0 to 65535",
		"EXPOSE 5-4":                                              "ends before it starts",
		"EXPOSE 1.2.3:80:80":                                      "no IP address",
		"EXPOSE 1-2:3-5":                                          "different lengths",
		"RUN --mount=type=oval,target=/x true":                    `unsupported mount type "oval"`,
		"RUN --mount=type=tmpfs,target=/x,mode=1 true":            `mode not allowed for "tmpfs" type mounts`,
		"RUN --mount=type=bind,required,target=/x true":           "unexpected key 'required'",
		"RUN --mount=type=secret true":                            "one of source, target required",
	} {
		t.Run(src, func(t *testing.T) {
			_, _, err := expandInstruction(last(t, "FROM x\n"+src), NewLex('\\'), Vars{})
			e, ok := err.(*Error)
			assert.Assert(t, ok, "%v", err)
			assert.Assert(t, strings.Contains(e.Msg, want), e.Msg)
			assert.Equal(t, e.Line(), 2)
			assert.Assert(t, strings.Contains(e.Excerpt(), ">>> "+src[:4]))
		})
	}
	_, _, err := expandInstruction(last(t, "FROM x\nRUN --mount=type=cach,target=/x true"), NewLex('\\'), Vars{})
	assert.Equal(t, err.(*Error).Hint, "did you mean cache?")
}

// Row 28f: root needs no looking up. Rows 33-35, 108.
func TestAccepted(t *testing.T) {
	for _, src := range []string{
		"COPY --link --chown=root a b", "COPY --link --chown=root:0 a b", "COPY --link --chown=1: a b", "COPY --chown=me:us a b",
		"COPY --chmod=0 a b", "COPY --chmod=07777 a b", "COPY --chmod=u=rwX,go=rX a b", "COPY --chmod=+x a b", "COPY --chmod=a-w+t a b", "COPY --chmod=g=u a b",
		"ADD --checksum=abc https://h/r.git#main /", "COPY github.com/a/b /",
		"STOPSIGNAL SIGTERM", "STOPSIGNAL term", "STOPSIGNAL 15", "STOPSIGNAL SIGRTMIN+3", "STOPSIGNAL RTMAX-14",
	} {
		_, _, err := expandInstruction(last(t, "FROM x\n"+src), NewLex('\\'), Vars{})
		assert.NilError(t, err, src)
	}
	for _, s := range []string{"RTMIN+16", "RTMIN+03", "RTMIN+", "SIGSIGTERM", ""} {
		assert.Assert(t, validateSignal(s) != nil, s)
	}
}

// Row 105: ranges, protocols.
func TestPorts(t *testing.T) {
	for raw, want := range map[string]string{
		"80": "80/tcp", "80/": "80/tcp", "53/UDP": "53/udp", "1-3/sctp": "1/sctp 2/sctp 3/sctp", "8-8": "8/tcp",
		"8080:80": "80/tcp", "127.0.0.1:8080:80": "80/tcp", "[::1]:8080:80/udp": "80/udp", "::1:8080:80": "80/tcp", "8000-8001:80": "80/tcp", "127.0.0.1::80": "80/tcp",
	} {
		p, err := parsePort(raw)
		assert.NilError(t, err, raw)
		assert.Equal(t, strings.Join(p.ports(), " "), want, raw)
	}
}

// Rows 64-66, 70: values of arguments.
func TestArgs(t *testing.T) {
	none := Vars{}
	f := parse(t, "ARG A=1\nARG B=$A-$C D\nARG TARGETOS=mine E=5\nFROM x\n")
	g, err := f.globals(NewVars([]string{"TARGETOS=linux", "C=c"}), NewVars([]string{"E=6", "Z=9"}))
	assert.NilError(t, err)
	assert.DeepEqual(t, g.Slice(), []string{"TARGETOS=mine", "C=c", "A=1", "B=1-c", "E=6"})

	a := last(t, "FROM x\nARG A B=b C=$B$env$u D= E=${nope:?x} F").(*Arg)
	values, undefined, err := a.resolve(NewLex('\\'), NewVars([]string{"env=e"}), Arguments{NewVars([]string{"E=given"}), NewVars([]string{"A=global", "B=global"})})
	assert.NilError(t, err)
	assert.DeepEqual(t, undefined, []string{"u"})
	assert.Equal(t, ArgHistory(values), "ARG A=global B=b C=be D= E=given F")
	assert.Assert(t, values[0].FromGlobal && !values[1].FromGlobal)
	assert.Assert(t, values[5].Value == nil)

	_, _, err = a.resolve(NewLex('\\'), none, Arguments{})
	assert.Equal(t, err.(*Error).Line(), 2)
	_, err = parse(t, "ARG a=${b:?c}\nFROM x").globals(none, none)
	assert.Equal(t, err.(*Error).Line(), 1)
}

func TestParseSource(t *testing.T) {
	for s, kind := range map[string]SourceKind{
		"a/b": LocalSource, "./x.git": LocalSource, "github.com/a/b": LocalSource, "ftp://h/x": LocalSource,
		"http://h/x": HTTPSource, "https://h/x.tar": HTTPSource,
		"https://h/x.git": GitSource, "git://h/x": GitSource, "git@h:x": GitSource, "ssh://git@h/x": GitSource,
	} {
		src, err := ParseSource(s)
		assert.NilError(t, err, s)
		assert.Equal(t, src.Kind, kind, s)
	}
	src, err := ParseSource("https://h/x.git?ref=v1&subdir=d&keep-git-dir=1&submodules=0&checksum=abc")
	assert.NilError(t, err)
	assert.DeepEqual(t, []string{src.Git.Remote, src.Git.Ref, src.Git.SubDir, src.Git.Checksum}, []string{"https://h/x.git", "v1", "d", "abc"})
	assert.Assert(t, *src.Git.KeepGitDir && !*src.Git.Submodules && !src.Git.Plain)
	src, err = ParseContext("github.com/a/b#v2:dir")
	assert.NilError(t, err)
	assert.DeepEqual(t, []string{src.Git.Remote, src.Git.Ref, src.Git.SubDir}, []string{"https://github.com/a/b", "v2", "dir"})
}
