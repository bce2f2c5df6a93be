package copier

import (
	"strconv"
)

// The bits that a class of users has: u with setuid, g with setgid. The sticky bit belongs to none.
const (
	userBits  = 0o4700
	groupBits = 0o2070
	otherBits = 0o0007
	allBits   = userBits | groupBits | otherBits
	setIDs    = 0o6000
	sticky    = 0o1000
)

// modeChange is a parsed --chmod: an octal mode, or the steps of a symbolic one as in chmod(1), umask 0. The zero value
// changes nothing.
type modeChange struct {
	octal *uint32
	steps []modeStep
}

// modeStep does op ('+', '-' or '=') to the bits of who. The bits are perm, those of the class from ('u', 'g' or 'o'), or,
// when conditional, perm if the file is a directory or could be executed before.
type modeStep struct {
	op          byte
	who, perm   uint32
	from        byte
	conditional bool
}

// parseMode reads a --chmod value. "755" and "4755" are octal, up to 7777; else clauses separated by commas:
// [ugoa]*([-+=]([rwxXst]|[ugo])*)+ as chmod(1) has them.
func parseMode(s string) (modeChange, error) {
	if s == "" {
		return modeChange{}, nil
	}
	if n, err := strconv.ParseUint(s, 8, 32); err == nil && n <= 0o7777 {
		mode := uint32(n)
		return modeChange{octal: &mode}, nil
	}
	if s[0] >= '0' && s[0] <= '9' {
		return modeChange{}, &OptionError{"--chmod", s, "it should be an octal number between 0 and 07777"}
	}
	p := modeParser{rest: s}
	for {
		if !p.clause() {
			return modeChange{}, &OptionError{"--chmod", s, "neither octal nor symbolic like u=rwX,go=rX"}
		}
		if p.rest == "" {
			return modeChange{steps: p.steps}, nil
		}
		if p.next() != ',' {
			return modeChange{}, &OptionError{"--chmod", s, "neither octal nor symbolic like u=rwX,go=rX"}
		}
	}
}

type modeParser struct {
	rest  string
	steps []modeStep
}

func (p *modeParser) peek() byte {
	if p.rest == "" {
		return 0
	}
	return p.rest[0]
}

func (p *modeParser) next() byte {
	c := p.peek()
	if c != 0 {
		p.rest = p.rest[1:]
	}
	return c
}

func (p *modeParser) clause() bool {
	var who uint32
	for {
		switch p.peek() {
		case 'u':
			who |= userBits
		case 'g':
			who |= groupBits
		case 'o':
			who |= otherBits
		case 'a':
			who |= allBits
		default:
			return p.operations(who)
		}
		p.next()
	}
}

// operations reads what follows the classes: one or more of an operator with its permissions.
func (p *modeParser) operations(who uint32) bool {
	onlyOther := who != 0 && who&^otherBits == 0
	if who == 0 {
		who = allBits
	}
	for n := 0; ; n++ {
		op := p.peek()
		if op != '+' && op != '-' && op != '=' {
			return n > 0 && (op == 0 || op == ',')
		}
		p.next()
		p.permissions(op, who, onlyOther)
	}
}

func (p *modeParser) permissions(op byte, who uint32, onlyOther bool) {
	step := modeStep{op: op, who: who}
	var conditional uint32
	done := false // a copy from another class has done the operator's work
	for {
		switch c := p.peek(); c {
		case 'r':
			step.perm |= 0o444
		case 'w':
			step.perm |= 0o222
		case 'x':
			step.perm |= 0o111
		case 'X':
			if op == '-' {
				step.perm |= 0o111
			} else {
				conditional = 0o111
			}
		case 's':
			if !onlyOther {
				step.perm |= setIDs
			}
		case 't':
			if !onlyOther {
				step.who |= sticky
				step.perm |= sticky
			}
		case 'u', 'g', 'o':
			if step.perm != 0 {
				p.steps = append(p.steps, step)
				step.perm = 0
			}
			p.steps = append(p.steps, modeStep{op: op, who: who, from: c})
			done = true
		default:
			if step.perm != 0 || !done {
				p.steps = append(p.steps, step)
			}
			if conditional != 0 {
				p.steps = append(p.steps, modeStep{op: '+', who: who, perm: conditional, conditional: true})
			}
			return
		}
		p.next()
	}
}

// apply returns the mode that a file with this mode gets.
func (m modeChange) apply(mode uint32, isDir bool) uint32 {
	if m.octal != nil {
		return *m.octal
	}
	executable := mode&0o111 != 0
	for _, s := range m.steps {
		bits, clear := s.perm&s.who, s.who
		switch {
		case s.conditional && !isDir && !executable:
			continue
		case s.from != 0:
			bits = spread(mode, s.from) & s.who
			clear &= 0o777 // copying a class leaves setuid and setgid alone
		}
		switch s.op {
		case '+':
			mode |= bits
		case '-':
			mode &^= bits
		case '=':
			mode = mode&^clear | bits
		}
	}
	return mode
}

// spread gives every class the permissions of one.
func spread(mode uint32, class byte) uint32 {
	shift := map[byte]int{'u': 6, 'g': 3, 'o': 0}[class]
	p := mode >> shift & 7
	return p<<6 | p<<3 | p
}
