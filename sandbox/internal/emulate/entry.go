package emulate

// entry is one system call of an ABI that the filter stops at: who handles it, and where its arguments are.
type entry struct {
	number uint32
	do     func(*request) answer
	obj    object
	arg    int    // the handler's own first argument
	when   when   // which calls of this number
	narrow bool   // ids have 16 bits
	layout layout // of the result
}

// object says which arguments name a file; -1 for none.
type object struct {
	dir, path, flags int
	nofollow         bool // of itself, without a flag
}

// The forms in which system calls name a file.
func byFD(fd int) object            { return object{dir: fd, path: -1, flags: -1} }
func byPath(path int) object        { return object{dir: -1, path: path, flags: -1} }
func byLink(path int) object        { return object{dir: -1, path: path, flags: -1, nofollow: true} }
func at(dir, path, flag int) object { return object{dir: dir, path: path, flags: flag} }
func linkAt(dir, path int) object   { return object{dir: dir, path: path, flags: -1, nofollow: true} }

// when is a test of an argument in the filter itself, which costs nothing: the call is of interest if arg has any of the
// bits, or, with equal, exactly this value. The zero value is every call.
type when struct {
	arg   int
	bits  uint32
	equal bool
	value uint32
	// tables: only with records in tables below, which a copy-up would lose.
	tables bool
}

// abi is one calling convention.
type abi struct {
	audit   uint32 // AUDIT_ARCH_*
	entries []entry
}

// layout is the form of a stat result.
type layout int

const (
	statNative    layout = iota
	statI386             // struct stat
	statI386Large        // struct stat64
)

const (
	creates      = 0x40     // O_CREAT, the same in all ABIs
	createsNone  = 0x400000 // O_TMPFILE without the O_DIRECTORY that it comes with
	cloneNewUser = 0x10000000
	cloneNewNS   = 0x00020000
	noFollowFlag = 0x100  // AT_SYMLINK_NOFOLLOW
	followFlag   = 0x400  // AT_SYMLINK_FOLLOW
	emptyPath    = 0x1000 // AT_EMPTY_PATH
)

func flagged(arg int, bits uint32) when { return when{arg: arg, bits: bits} }
func exactly(arg int, v uint32) when    { return when{arg: arg, equal: true, value: v} }
func whenTables() when                  { return when{tables: true} }
