// Package dockerfile turns the text of a Dockerfile into typed stages and instructions with their source ranges,
// expands variables, lints, and answers what a Dockerfile offers (its targets, arguments, secrets). It knows nothing of
// images or the disk: everything it needs from there comes in through plain structs and callbacks.
//
// The language is the one that BuildKit v0.34 accepts, read with BuildKit's own parser packages. A Dockerfile goes
// through three forms:
//
//	text --Parse--> *File with Stages of Instructions, nothing expanded
//	     --File.From, Scope.Apply--> one instruction with every string final, given what it sees of those before it
//	     --History--> the created_by string of the image's history
//
// Scope is the one evaluation of ARG, ENV, SHELL, USER and WORKDIR: planning a build, linting and the outline all go
// through it. All values are immutable by convention: Apply returns copies. Functions may be called from several
// goroutines.
package dockerfile
