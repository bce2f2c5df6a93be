// Package sys holds thin wrappers around the system calls that the standard library lacks. They retry EINTR, add O_CLOEXEC
// and return *os.PathError with the path the caller knows the object by, so that errors.Is works with errno values.
//
// A parameter whose name begins with unsafe is a path or name that an image or a context chose: the wrapper promises that
// no symbolic link in it leads out of the directory it is given with.
package sys
