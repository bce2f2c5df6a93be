// Package planner turns a Dockerfile into a graph of steps: ARG and ENV expanded, FROM bound to a stage, an image or a
// named context, ONBUILD run, stages that nothing needs dropped.
//
//	*dockerfile.File, Options
//	  | New                  asks Bases for the configs of the images that stages build on, and for nothing else
//	*Plan                    stages of steps; what a step does is an Operation, a value in which every string is final
//
// An Operation says what is to be done, and what of it goes into a cache key. How it is done, where layers are and what
// is cached are the engine's business: nothing here runs, fetches or reads a file.
package planner
