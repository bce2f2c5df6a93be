// Command attack tries to do harm from inside a container: each argument is one attack, NAME or NAME=VALUE. It prints a line for each,
// "NAME stopped: why" or "NAME HARM: what", and ends with 1 when there was harm. It is static and runs in any image; built for 386 it
// tries the same through the kernel's 32-bit entry. `attack list` prints the names. Outside of a container it refuses what would harm.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// attack returns what harm it did, or why it could do none.
type attack func(value string) (harm string, why error)

func attacks() map[string]attack {
	all := map[string]attack{
		"fds": openDescriptors, "write-proc-sys": writableBelow, "masked": readHidden, "unmask": unmask, "devices": makeDevices,
		"chroot": leaveChroot, "processes": otherProcesses, "pid": reachProcess, "abstract": dialAbstract, "tiocsti": typeIntoTerminal,
		"keys": keyrings, "userns": userNamespaces, "mounts": mounts, "setuid": becomeRoot, "marker": findMarker, "dial": dialAddress,
	}
	for name, call := range forbiddenCalls() {
		all["call-"+name] = call
	}
	return all
}

func main() {
	runtime.LockOSThread()
	args := os.Args[1:]
	all := attacks()
	if len(args) == 1 && args[0] == "list" {
		for _, name := range sortedNames(all) {
			fmt.Println(name)
		}
		return
	}
	status, confined := 0, inContainer()
	for _, arg := range args {
		name, value, _ := strings.Cut(arg, "=")
		if !slices.Contains(harmless, name) && !confined {
			fmt.Fprintf(os.Stderr, "attack: %s is for containers only: it would do its harm here\n", name)
			os.Exit(2)
		}
		do := all[name]
		if do == nil {
			fmt.Fprintf(os.Stderr, "attack: no attack %q\n", name)
			os.Exit(2)
		}
		if harm, why := do(value); harm != "" {
			fmt.Printf("%s HARM: %s\n", name, harm)
			status = 1
		} else {
			fmt.Printf("%s stopped: %s\n", name, strings.ReplaceAll(why.Error(), "\n", "; "))
		}
	}
	os.Exit(status)
}

// harmless are the attacks that may be tried where nothing is around them, to see that they find what they look for.
var harmless = []string{"dial", "marker", "pid", "processes", "abstract", "tiocsti"}

// inContainer is true at the root of a file system only, where the tests' images have this program.
func inContainer() bool {
	name, err := os.Executable()
	return err == nil && filepath.Dir(name) == "/"
}

func sortedNames(all map[string]attack) []string {
	var names []string
	for name := range all {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
