package dockerfile

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

var (
	errEmptyVolume  = errors.New("a VOLUME path is empty")
	errFromVariable = errors.New("variables are not expanded in --from: define a stage with FROM and a global ARG instead")
)

// validateFrom refuses variables in a COPY's --from, at parse time already: the graph of stages is made of these names.
func validateFrom(from string) error {
	if text, _, err := NewLex('\\').Word(from, Vars{}); err != nil || text != from {
		return errFromVariable
	}
	return nil
}

// validateChmod accepts octal numbers up to 07777 and the symbolic form of chmod(1): [ugoa]*[-+=][perms] clauses, comma
// separated.
func validateChmod(mode string) error {
	if mode == "" {
		return nil
	}
	if n, err := strconv.ParseUint(mode, 8, 32); err == nil {
		if n <= 0o7777 {
			return nil
		}
		return fmt.Errorf("--chmod=%s: an octal mode is at most 07777", mode)
	}
	for clause := range strings.SplitSeq(mode, ",") {
		if !symbolicClause(clause) {
			return fmt.Errorf("--chmod=%s: neither an octal mode up to 07777 nor a symbolic one such as u=rwX,go=rX", mode)
		}
	}
	return nil
}

// symbolicClause tells whether s is "who" letters and then one or more of an operator with permissions.
func symbolicClause(s string) bool {
	s = strings.TrimLeft(s, "ugoa")
	if s == "" {
		return false
	}
	for s != "" {
		if !strings.ContainsRune("+-=", rune(s[0])) {
			return false
		}
		s = s[1:]
		// Either letters of permissions, or one class whose bits are copied.
		if rest := strings.TrimLeft(s, "rwxXst"); rest != s || s == "" || strings.ContainsRune("+-=", rune(s[0])) {
			s = rest
			continue
		}
		if !strings.ContainsRune("ugo", rune(s[0])) {
			return false
		}
		s = s[1:]
	}
	return true
}

// validateSignal checks a STOPSIGNAL: a number other than 0, or a name of Linux with or without SIG, in any case.
func validateSignal(s string) error {
	if n, err := strconv.Atoi(s); err == nil {
		if n == 0 {
			return fmt.Errorf("invalid signal: %s", s)
		}
		return nil
	}
	name := strings.TrimPrefix(strings.ToUpper(s), "SIG")
	if slices.Contains(signalNames, name) || realTimeSignal(name) {
		return nil
	}
	return fmt.Errorf("invalid signal: %s", s)
}

var signalNames = []string{
	"ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE", "POLL", "PROF", "PWR",
	"QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU", "URG", "USR1", "USR2", "VTALRM", "WINCH",
	"XCPU", "XFSZ",
}

// realTimeSignal knows RTMIN, RTMIN+1 to +15, RTMAX-14 to -1 and RTMAX.
func realTimeSignal(name string) bool {
	if name == "RTMIN" || name == "RTMAX" {
		return true
	}
	for prefix, most := range map[string]int{"RTMIN+": 15, "RTMAX-": 14} {
		if digits, ok := strings.CutPrefix(name, prefix); ok {
			n, err := strconv.Atoi(digits)
			return err == nil && 1 <= n && n <= most && strconv.Itoa(n) == digits
		}
	}
	return false
}
