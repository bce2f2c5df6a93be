// Package engine turns a Dockerfile into an image: it is where the libraries meet.
//
//	Dockerfile bytes
//	  | dockerfile.Parse            typed stages with source ranges, nothing expanded
//	  | planner.New                 a graph of steps, each with an operation in which every string is final
//	planner.Plan
//	  | engine.result(step)         a memo of futures: the key is looked up, then the step runs, its layer is recorded
//	Image                           config and layers; written to the store, tagged, exported
//
// Steps form a graph by their Parent (the file system below) and by the stages that they copy or mount from. A step's
// key chains on the results below it, not on their definitions; see key.go. What an operation says is the planner's,
// how it is done is an action of this package. Everything that the engine has to say goes out through Options.OnEvent.
package engine
