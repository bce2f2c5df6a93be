package dockerfile

import (
	"testing"

	"gotest.tools/v3/assert"
)

// Row 111: created_by strings, golden.
func TestHistory(t *testing.T) {
	for src, want := range map[string]string{
		"COPY a b /c/": "COPY a b /c/ # buildkit",
		"COPY --from=x --link --chown=1:2 --chmod=644 --parents --exclude=z a b":                                "COPY --parents --chown=1:2 --chmod=644 a b # buildkit",
		"COPY <<a <<-'b' c d/\na\nb\n":                                                                          "COPY c <<a <<b d/ # buildkit",
		"ADD --checksum=sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 https://h/f $d": "ADD https://h/f dd # buildkit",
		"ENV a=b 'c d'=$d":              "ENV a=b c d=dd",
		"ENV a b c":                     "ENV a=b c",
		`LABEL a="b c" d=$d`:            "LABEL a=b c d=dd",
		"EXPOSE 5000 2375/TCP 1234/udp": "EXPOSE [1234/udp 2375/tcp 5000/tcp]",
		"VOLUME /a $d":                  "VOLUME [/a dd]",
		"USER $d:1":                     "USER dd:1",
		"WORKDIR a/../$d":               "WORKDIR /dd",
		"STOPSIGNAL SIGTERM":            "STOPSIGNAL SIGTERM",
		`SHELL ["bash", "-c"]`:          "SHELL [bash -c]",
		"MAINTAINER me":                 "MAINTAINER me",
		"HEALTHCHECK NONE":              "HEALTHCHECK {Test:[NONE] Interval:0s Timeout:0s StartPeriod:0s StartInterval:0s Retries:0}",
		"HEALTHCHECK --interval=90s --retries=3 CMD a b": "HEALTHCHECK {Test:[CMD-SHELL a b] Interval:1m30s Timeout:0s StartPeriod:0s StartInterval:0s Retries:3}",
		`HEALTHCHECK --timeout=1ms CMD ["a", "b"]`:       "HEALTHCHECK {Test:[CMD a b] Interval:0s Timeout:1ms StartPeriod:0s StartInterval:0s Retries:0}",
	} {
		i, _ := expandLast(t, "FROM x\n"+src, "d=dd")
		assert.Equal(t, history(i), want)
	}
	for src, want := range map[string]string{
		`CMD ["a", "b"]`: `CMD ["a" "b"]`, "CMD a b": `CMD ["/bin/sh" "-c" "a b"]`, "CMD []": "CMD []",
	} {
		assert.Equal(t, last(t, "FROM x\n"+src).(*Cmd).History(nil), want)
	}
	assert.Equal(t, last(t, "FROM x\nENTRYPOINT a").(*Entrypoint).History([]string{"bash", "-c"}), `ENTRYPOINT ["bash" "-c" "a"]`)
	assert.Equal(t, last(t, "FROM x\nENTRYPOINT []").(*Entrypoint).History(nil), "ENTRYPOINT []")
}

func TestRunHistory(t *testing.T) {
	v := func(s string) *string { return &s }
	r := last(t, "FROM x\nRUN --network=none cmd  x").(*Run)
	s, err := r.Script(nil)
	assert.NilError(t, err)
	assert.Equal(t, r.History(s, nil, Vars{}), "RUN /bin/sh -c cmd  x # buildkit")
	args := []ArgValue{{Name: "A", Value: v("1")}, {Name: "NONE"}, {Name: "B", Value: v("2")}, {Name: "A", Value: v("3")}}
	assert.Equal(t, r.History(s, args, NewVars([]string{"A=env", "B=2", "C=4"})), "RUN |3 A=env NONE= B=2 /bin/sh -c cmd  x # buildkit")

	r = last(t, `FROM x
RUN ["ls", "-l"]`).(*Run)
	s, err = r.Script(nil)
	assert.NilError(t, err)
	assert.Equal(t, r.History(s, nil, Vars{}), "RUN ls -l # buildkit")
	r = last(t, "FROM x\nRUN <<EOF\na\nb\nEOF").(*Run)
	s, err = r.Script(nil)
	assert.NilError(t, err)
	assert.Equal(t, r.History(s, nil, Vars{}), "RUN /bin/sh -c a\nb\n # buildkit")
}

// Rows 16, 72: relative directories.
func TestWorkdirDir(t *testing.T) {
	for _, tt := range []struct{ current, path, want string }{
		{"/", "a", "/a"}, {"/a", "b/../c", "/a/c"}, {"/a", "/b/", "/b"}, {"", "a", "/a"}, {"/a", "../../..", "/"}, {"/a", "", "/a"},
	} {
		assert.Equal(t, (&Workdir{Path: tt.path}).Dir(tt.current), tt.want)
	}
}

func TestDisplayName(t *testing.T) {
	env := NewVars([]string{"a=1", "t=/x"})
	for src, want := range map[string]string{
		"copy  \"$a\" $u /b":                    "COPY  1  /b",
		"run echo \"$a\" '$a' $u":               `RUN echo "1" '$a' $u`,
		"RUN <<EOF\n\nfirst $a\nsecond\nEOF":    "RUN <<EOF (first 1...)",
		"RUN --mount=type=secret,id=s,env=P $P": "RUN --mount=type=secret,id=s,env=P ****",
		"WORKDIR ${t}":                          "WORKDIR /x",
		"RUN echo ${a":                          "RUN echo ${a",
		"VOLUME '":                              "VOLUME '",
	} {
		i := last(t, "FROM x\n"+src)
		if expanded, _, err := expandInstruction(i, NewLex('\\'), env); err == nil {
			i = expanded
		}
		assert.Equal(t, scopeOf(&File{Escape: '\\'}, env).DisplayName(i), want)
	}
}
