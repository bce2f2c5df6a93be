// Command unused lists what nothing but tests uses: unused [-C DIRECTORY] [PACKAGE...].
//
// It sees what deadcode of golang.org/x/tools can't. That one asks which functions main can reach, and has to take
// every exported method of a value that was ever stored in an interface for reachable, by reflection; it also knows
// nothing of fields, types, constants and variables. This one asks for every declared name whether a file that is no
// test mentions it, and for every field whether anything gives it a value. These count as used: a method that some
// interface asks for, a field that has a tag, the fields of a struct that the kernel fills (its address becomes an
// unsafe.Pointer), and a constant whose neighbours are numbered by iota.
//
// A line is "package.Name: what is wrong (file:line:column)", with the package's path in the module. tools/dead.sh runs
// it and knows what may stay.
package main

import (
	"cmp"
	"flag"
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"log"
	"slices"
	"strings"

	"golang.org/x/tools/go/packages"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("unused: ")
	dir := flag.String("C", ".", "directory of the module")
	flag.Parse()
	patterns := flag.Args()
	if len(patterns) == 0 {
		patterns = []string{"./..."}
	}
	pkgs, err := packages.Load(&packages.Config{
		Mode: packages.NeedName | packages.NeedFiles | packages.NeedImports | packages.NeedDeps | packages.NeedModule |
			packages.NeedSyntax | packages.NeedTypes | packages.NeedTypesInfo,
		Dir: *dir,
	}, patterns...)
	if err != nil {
		log.Fatal(err)
	}
	if packages.PrintErrors(pkgs) > 0 {
		log.Fatal("the packages have errors")
	}
	for _, f := range examine(pkgs) {
		fmt.Printf("%s: %s (%s)\n", f.name, f.what, f.pos)
	}
}

// finding is one name that nothing uses.
type finding struct {
	pos  token.Position
	name string // without the module's path
	what string
}

// usage is what the files that are no tests do with the objects of the module.
type usage struct {
	mentioned map[types.Object]bool
	given     map[types.Object]bool // fields that are given a value
	numbered  map[*ast.Ident]bool   // constants in a block that counts with iota
	wanted    map[string][]*types.Interface
}

func examine(pkgs []*packages.Package) []finding {
	u := usage{
		mentioned: make(map[types.Object]bool),
		given:     make(map[types.Object]bool),
		numbered:  make(map[*ast.Ident]bool),
		wanted:    interfaces(pkgs),
	}
	for _, p := range pkgs {
		for _, f := range p.Syntax {
			u.read(p.TypesInfo, f)
		}
	}
	var found []finding
	for _, p := range pkgs {
		for ident, obj := range p.TypesInfo.Defs {
			what := u.unused(obj)
			if what == "" || u.numbered[ident] {
				continue
			}
			name := strings.TrimLeft(strings.TrimPrefix(qualified(obj), p.Module.Path), "/.")
			found = append(found, finding{p.Fset.Position(obj.Pos()), name, what})
		}
	}
	slices.SortFunc(found, func(a, b finding) int {
		return cmp.Or(strings.Compare(a.pos.Filename, b.pos.Filename), cmp.Compare(a.pos.Offset, b.pos.Offset))
	})
	return slices.CompactFunc(found, func(a, b finding) bool { return a.name == b.name })
}

// interfaces are all named interfaces that the program's packages can see, by the names of their methods, and those
// that are written without a name.
func interfaces(pkgs []*packages.Package) map[string][]*types.Interface {
	wanted := make(map[string][]*types.Interface)
	add := func(t types.Type) {
		iface, ok := t.Underlying().(*types.Interface)
		for i := 0; ok && i < iface.NumMethods(); i++ {
			name := iface.Method(i).Name()
			wanted[name] = append(wanted[name], iface)
		}
	}
	add(types.Universe.Lookup("error").Type())
	packages.Visit(pkgs, nil, func(p *packages.Package) {
		for _, name := range p.Types.Scope().Names() {
			if t, ok := p.Types.Scope().Lookup(name).(*types.TypeName); ok {
				add(t.Type())
			}
		}
	})
	for _, p := range pkgs {
		for expr, tv := range p.TypesInfo.Types {
			if _, ok := expr.(*ast.InterfaceType); ok {
				add(tv.Type)
			}
		}
	}
	return wanted
}

// unused says what is wrong with an object, or nothing.
func (u *usage) unused(obj types.Object) string {
	if obj == nil || obj.Pkg() == nil || obj.Name() == "_" {
		return ""
	}
	switch obj := obj.(type) {
	case *types.Func:
		sig := obj.Signature()
		switch {
		case u.mentioned[obj], sig.Recv() == nil && (obj.Name() == "main" || obj.Name() == "init"):
		case sig.Recv() == nil:
			return "nothing calls this function"
		case types.IsInterface(sig.Recv().Type()):
			return "nothing calls this method of an interface"
		case !u.implements(sig.Recv().Type(), obj.Name()):
			return "nothing calls this method"
		}
	case *types.Var:
		switch {
		case obj.IsField():
			return u.field(obj)
		case obj.Parent() == obj.Pkg().Scope() && !u.mentioned[obj]:
			return "nothing uses this variable"
		}
	case *types.Const:
		if obj.Parent() == obj.Pkg().Scope() && !u.mentioned[obj] {
			return "nothing uses this constant"
		}
	case *types.TypeName:
		if obj.Parent() == obj.Pkg().Scope() && !u.mentioned[obj] {
			return "nothing uses this type"
		}
	}
	return ""
}

func (u *usage) field(obj *types.Var) string {
	if qualified(obj) == "" || tagged(obj) {
		return ""
	}
	switch {
	case !u.mentioned[obj]:
		return "nothing uses this field"
	case !u.given[obj]:
		return "nothing sets this field"
	}
	return ""
}

// implements says whether a type has its method because of an interface.
func (u *usage) implements(recv types.Type, method string) bool {
	if p, ok := recv.(*types.Pointer); ok {
		recv = p.Elem()
	}
	if method == "Unwrap" || method == "Is" || method == "As" { // package errors looks for these in any error
		return types.Implements(types.NewPointer(recv), u.wanted["Error"][0])
	}
	for _, iface := range u.wanted[method] {
		if types.Implements(recv, iface) || types.Implements(types.NewPointer(recv), iface) {
			return true
		}
	}
	return false
}

// fieldOwner finds the named struct that a field belongs to, and its place in it.
func fieldOwner(obj *types.Var) (named *types.TypeName, s *types.Struct, index int) {
	scope := obj.Pkg().Scope()
	for _, name := range scope.Names() {
		tn, ok := scope.Lookup(name).(*types.TypeName)
		if !ok {
			continue
		}
		s, ok := tn.Type().Underlying().(*types.Struct)
		for i := 0; ok && i < s.NumFields(); i++ {
			if s.Field(i) == obj {
				return tn, s, i
			}
		}
	}
	return nil, nil, 0
}

func tagged(obj *types.Var) bool {
	_, s, i := fieldOwner(obj)
	return s.Tag(i) != ""
}

// qualified is package.Name or package.Type.Name; nothing for a field of a struct without a name.
func qualified(obj types.Object) string {
	path := obj.Pkg().Path()
	switch obj := obj.(type) {
	case *types.Func:
		if recv := obj.Signature().Recv(); recv != nil {
			t := recv.Type()
			if p, ok := t.(*types.Pointer); ok {
				t = p.Elem()
			}
			if named, ok := t.(*types.Named); ok {
				return path + "." + named.Obj().Name() + "." + obj.Name()
			}
			return path + "." + obj.Name()
		}
	case *types.Var:
		if obj.IsField() {
			named, _, _ := fieldOwner(obj)
			if named == nil {
				return ""
			}
			return path + "." + named.Name() + "." + obj.Name()
		}
	}
	return path + "." + obj.Name()
}

// origin is the object that was declared, for one that belongs to an instance of a generic type or function.
func origin(obj types.Object) types.Object {
	switch obj := obj.(type) {
	case *types.Func:
		return obj.Origin()
	case *types.Var:
		return obj.Origin()
	}
	return obj
}
