// Command cairn builds OCI images from Dockerfiles as an ordinary user.
package main

import (
	"os"

	"github.com/cairnbuild/cairn/internal/cli"
	"github.com/cairnbuild/cairn/sandbox"
)

func main() {
	sandbox.RunIfChild()
	os.Exit(cli.Main(os.Args, os.Stdin, os.Stdout, os.Stderr))
}
