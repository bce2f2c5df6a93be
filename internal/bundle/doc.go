// Package bundle prepares what a command runs in, for a RUN and for `cairn run` alike: a root file system over a stack
// of layers, the files and directories that are mounted in it, and the network, host name and limits around it. The
// word is the OCI runtime specification's for a root file system with the configuration of the process that runs in it.
//
// Make does all of that and gives a Bundle; Spec adds a process, for sandbox.Run. Any number of processes can run in a
// Bundle, one after the other. Changes are what they did to the root, as a layer. Close gives back what the Bundle
// holds.
package bundle
