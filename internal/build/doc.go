// Package build turns a Dockerfile into an image: it is where the libraries meet.
//
//	Dockerfile bytes
//	  | dockerfile.Parse            typed stages with source ranges, nothing expanded
//	  | newPlan                     ARG and ENV expanded, FROM bound to a stage or an image, ONBUILD run, unused stages dropped
//	Plan {graph of Step}            every string final
//	  | engine.result(step)         a memo of futures: the key is looked up, then the step runs, its layer is recorded
//	Image                           config and layers; written to the store, tagged, exported
//
// Steps form a graph by their Parent (the file system below) and by what they copy or mount from. A step's key chains on the
// results below it, not on their definitions; see key.go. Everything that the engine has to say goes out through Options.OnEvent.
package build
