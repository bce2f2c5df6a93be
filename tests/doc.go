// Package tests drives the built program from outside, as whoever runs the tests: scripts in scripts/, and Go tests for what needs
// other programs, faults or concurrency.
//
// The environment says how:
//
//	CAIRN_BIN        the program; built anew when unset
//	CAIRN_E2E_RUN    a regular expression: only the cases whose name it matches
//	CAIRN_E2E_ALL=1  also the cases that take minutes each
//	CAIRN_REQUIRE=1  what would be skipped fails instead (CI)
//	CAIRN_NO_SUBUID=1 this user has no subordinate ids, and isn't supposed to: cases that need them don't apply (CI's second user)
//	CAIRN_TEST_CACHE where the Debian root file system is kept between runs
//	CAIRN_TEST_SMALLFS an empty, small, writable file system for the full disk case
//	DOCKER_HOST      a docker daemon that this user may use; root starts its own
package tests
