package dockerfile

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// Parse reads a Dockerfile. name is what messages call it. A byte order mark and CRLF line ends are fine. The error is
// always an *Error.
func Parse(name string, src []byte) (*File, error) {
	f := &File{Name: name, Text: src, Escape: parser.DefaultEscapeToken}
	o := f.origin()
	if len(bytes.TrimSpace(src)) == 0 {
		return nil, o.errorf(Range{}, "the Dockerfile is empty")
	}
	if err := checkText(o); err != nil {
		return nil, err
	}
	if err := f.directives(o); err != nil {
		return nil, err
	}
	if err := f.read(o); err != nil {
		if e := o.wrap(err, Range{}); e.Hint == "" && foreignSyntax(f.Syntax) {
			e.Hint = "the file is written for the syntax image " + f.Syntax + ", which is not run here"
			return nil, e
		}
		return nil, err
	}
	return f, nil
}

// read parses the instructions.
func (f *File) read(o *origin) error {
	tree, err := parser.Parse(bytes.NewReader(f.Text))
	if err != nil {
		return o.wrap(err, Range{})
	}
	f.Escape = tree.EscapeToken
	for _, w := range tree.Warnings {
		if w.URL == linter.RuleNoEmptyContinuation.URL {
			f.emptyContinuations = append(f.emptyContinuations, merge([][]parser.Range{{*w.Location}})...)
		}
	}
	var count counter
	for _, node := range tree.AST.Children {
		if err := f.add(node, o, &count); err != nil {
			return err
		}
	}
	if len(f.Stages) == 0 {
		return o.errorf(Range{}, "the Dockerfile has no FROM")
	}
	return nil
}

// add appends one top-level instruction to the file.
func (f *File) add(node *parser.Node, o *origin, count *counter) error {
	at := Range{node.StartLine, max(node.StartLine, node.EndLine)}
	i, stage, err := convert(node, o, at)
	if err != nil {
		return err
	}
	if err := count.add(i); err != nil {
		return o.wrap(err, Range{at.Start, at.Start})
	}
	switch arg, isArg := i.(*Arg); {
	case stage != nil:
		stage.Index = len(f.Stages)
		f.Stages = append(f.Stages, stage)
	case len(f.Stages) > 0:
		last := f.Stages[len(f.Stages)-1]
		last.Instructions = append(last.Instructions, i)
	case isArg:
		f.Args = append(f.Args, arg)
	default:
		e := o.errorf(i.Range(), "no build stage in current context")
		e.Hint = "start the file with a FROM; only ARG may stand before it"
		return e
	}
	return nil
}

// convert makes a typed instruction or, for FROM, a stage of a node.
func convert(node *parser.Node, o *origin, at Range) (Instruction, *Stage, error) {
	w := written{node: node, from: o, at: at}
	parsed, err := parseNode(node)
	if err != nil {
		return nil, nil, o.wrap(err, w.at)
	}
	if s, ok := parsed.(*instructions.Stage); ok {
		return nil, &Stage{
			Name: s.Name, Base: s.BaseName, Platform: s.Platform, Range: w.at, Comment: s.DocComment, Original: s.SourceCode, at: w,
		}, nil
	}
	i, err := typed(parsed, w)
	if err != nil {
		return nil, nil, o.wrap(err, w.at)
	}
	return i, nil, nil
}

// parseNode gives a fresh BuildKit instruction of a node, so that its caller may change it. The silent linter is there because
// ParseInstruction without one panics at a "# check=" comment.
func parseNode(node *parser.Node) (any, error) {
	return instructions.ParseInstructionWithLinter(node, linter.New(&linter.Config{}))
}

// ParseOnBuild parses a trigger: OnBuild.Expression, or one from an image's config. The instruction has no place; see
// File.ParseOnBuild. The error is an *Error.
func ParseOnBuild(expression string) (Instruction, error) {
	return parseTrigger(expression, &origin{}, Range{})
}

// ParseOnBuild parses a trigger that the FROM at r has pulled in: the instruction, and errors about it, stand at that FROM.
func (f *File) ParseOnBuild(expression string, r Range) (Instruction, error) {
	return parseTrigger(expression, f.origin(), r)
}

func parseTrigger(expression string, o *origin, at Range) (Instruction, error) {
	fail := func(err error) error {
		e := o.wrap(err, at)
		e.Msg = fmt.Sprintf("parse ONBUILD trigger %q: %s", short(expression), e.Msg)
		return e
	}
	if err := checkText(&origin{text: []byte(expression)}); err != nil {
		return nil, fail(errors.New(err.(*Error).Msg))
	}
	tree, err := parser.Parse(strings.NewReader(expression))
	if err != nil {
		return nil, fail(err)
	}
	if len(tree.AST.Children) != 1 {
		return nil, fail(errors.New("it is more than one instruction"))
	}
	i, stage, err := convert(tree.AST.Children[0], o, at)
	if err != nil {
		return nil, fail(err)
	}
	if _, nested := i.(*OnBuild); nested || stage != nil {
		return nil, fail(errors.New("FROM and ONBUILD are not allowed in a trigger"))
	}
	return i, nil
}

// directives reads the parser directives: comments of the form "# key=value" at the very top.
func (f *File) directives(o *origin) error {
	if err := checkDirectives(o); err != nil {
		return err
	}
	if _, value, ranges, ok := parser.DetectSyntax(f.Text); ok {
		f.Syntax = value
		if at := merge([][]parser.Range{ranges}); len(at) > 0 && foreignSyntax(value) {
			f.Warnings = append(f.Warnings, Warning{
				Text:  "the syntax image " + value + " is not run: this file is read as a Dockerfile",
				Range: at[0],
			})
		}
	}
	if value, _, ranges, ok := parser.ParseDirective("check", f.Text); ok {
		options, err := ParseCheck(value)
		if err != nil {
			e := o.errorf(Range{}, "%v", err)
			e.Ranges = merge([][]parser.Range{ranges})
			return e
		}
		f.Check = options
	}
	return nil
}

// foreignSyntax tells whether a "# syntax=" names something other than Docker's own Dockerfile language.
func foreignSyntax(value string) bool {
	if value == "" {
		return false
	}
	ref, _, _ := strings.Cut(value, " ")
	ref, _, _ = strings.Cut(ref, "@")
	if slash := strings.LastIndexByte(ref, '/'); strings.LastIndexByte(ref, ':') > slash {
		ref = ref[:strings.LastIndexByte(ref, ':')]
	}
	ref = strings.TrimPrefix(strings.TrimPrefix(ref, "docker.io/"), "docker/")
	return ref != "dockerfile" && ref != "dockerfile-upstream"
}

// checkDirectives finds a repeated directive or a bad escape character. The parser finds them too, but says the line before.
func checkDirectives(o *origin) error {
	var p parser.DirectiveParser
	src := bytes.TrimPrefix(o.text, []byte("\xef\xbb\xbf"))
	line := 0
	for text := range bytes.Lines(src) {
		line++
		d, err := p.ParseLine(bytes.TrimSpace(text))
		if err != nil {
			return o.errorf(Range{line, line}, "%v", err)
		}
		if d == nil {
			return nil
		}
		if d.Name == "escape" && d.Value != "`" && d.Value != `\` {
			return o.errorf(Range{line, line}, "invalid escape character %q: it must be a backslash or a backtick", d.Value)
		}
	}
	return nil
}
