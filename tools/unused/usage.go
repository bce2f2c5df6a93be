package main

import (
	"go/ast"
	"go/token"
	"go/types"
)

// read notes what one file mentions, and which fields it gives a value.
func (u *usage) read(info *types.Info, file *ast.File) {
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Ident:
			if obj := info.Uses[n]; obj != nil {
				u.mentioned[origin(obj)] = true
			}
		case *ast.AssignStmt:
			for _, l := range n.Lhs {
				u.give(info, l)
			}
		case *ast.IncDecStmt:
			u.give(info, n.X)
		case *ast.UnaryExpr:
			if n.Op == token.AND {
				u.give(info, n.X)
			}
		case *ast.RangeStmt:
			u.give(info, n.Key)
			u.give(info, n.Value)
		case *ast.SliceExpr:
			u.give(info, n.X)
		case *ast.CallExpr:
			u.call(info, n)
		case *ast.CompositeLit:
			u.literal(info, n)
		case *ast.GenDecl:
			u.constants(info, n)
		}
		return true
	})
	u.embedded(info)
}

// give notes that the fields in an expression like a.B[i].C are given a value.
func (u *usage) give(info *types.Info, e ast.Expr) {
	for {
		switch x := ast.Unparen(e).(type) {
		case *ast.SelectorExpr:
			u.given[origin(info.Uses[x.Sel])] = true
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		default:
			return
		}
	}
}

// call notes what a call may set: a method its receiver, if that is a field (a sync.Mutex, a strings.Builder), and the
// kernel every field of what it is handed.
func (u *usage) call(info *types.Info, call *ast.CallExpr) {
	if sel, ok := call.Fun.(*ast.SelectorExpr); ok && info.Selections[sel] != nil {
		u.give(info, sel.X)
	}
	if t, ok := info.TypeOf(call.Fun).(*types.Basic); !ok || t.Kind() != types.UnsafePointer || len(call.Args) != 1 {
		return
	}
	if p, ok := info.TypeOf(call.Args[0]).Underlying().(*types.Pointer); ok {
		if s, ok := p.Elem().Underlying().(*types.Struct); ok {
			u.whole(s)
		}
	}
}

// whole notes that all fields of a struct, and of the structs in it, are in use.
func (u *usage) whole(s *types.Struct) {
	for f := range s.Fields() {
		u.mentioned[origin(f)], u.given[origin(f)] = true, true
		if inner, ok := f.Type().Underlying().(*types.Struct); ok {
			u.whole(inner)
		}
	}
}

// constants notes the names of a block that counts with iota: such a name may only hold a number's place.
func (u *usage) constants(info *types.Info, block *ast.GenDecl) {
	iota := false
	ast.Inspect(block, func(n ast.Node) bool {
		id, ok := n.(*ast.Ident)
		iota = iota || ok && info.Uses[id] == types.Universe.Lookup("iota")
		return true
	})
	for _, spec := range block.Specs {
		if v, ok := spec.(*ast.ValueSpec); ok && iota && block.Tok == token.CONST {
			for _, name := range v.Names {
				u.numbered[name] = true
			}
		}
	}
}

// embedded notes the embedded fields that a promoted name goes through.
func (u *usage) embedded(info *types.Info) {
	for _, sel := range info.Selections {
		t := sel.Recv()
		for _, i := range sel.Index()[:len(sel.Index())-1] {
			if p, ok := t.Underlying().(*types.Pointer); ok {
				t = p.Elem()
			}
			s, ok := t.Underlying().(*types.Struct)
			if !ok {
				break
			}
			u.mentioned[origin(s.Field(i))], u.given[origin(s.Field(i))] = true, true
			t = s.Field(i).Type()
		}
	}
}

// literal notes the fields that a composite literal gives a value.
func (u *usage) literal(info *types.Info, lit *ast.CompositeLit) {
	t := info.TypeOf(lit)
	if p, ok := t.Underlying().(*types.Pointer); ok {
		t = p.Elem()
	}
	s, ok := t.Underlying().(*types.Struct)
	if !ok {
		return
	}
	for i, e := range lit.Elts {
		if kv, ok := e.(*ast.KeyValueExpr); ok {
			u.given[origin(info.Uses[kv.Key.(*ast.Ident)])] = true
		} else {
			u.given[origin(s.Field(i))], u.mentioned[origin(s.Field(i))] = true, true
		}
	}
}
