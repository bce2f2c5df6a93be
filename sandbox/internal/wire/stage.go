package wire

// The stages of setting a sandbox up, in the order they happen. They stand verbatim in errors and hints are hung on them.
const (
	StageUserns    = "create user namespace"
	StageMaps      = "write uid_map and gid_map"
	StageNewuid    = "write uid_map with newuidmap"
	StageNewgid    = "write gid_map with newgidmap"
	StageStart     = "start in the user namespace"
	StagePrivate   = "make mounts private"
	StageOwnProc   = "mount /proc for the builder"
	StageSpec      = "check the step"
	StageClone     = "create namespaces"
	StageRead      = "read the step"
	StageNetwork   = "enter the network"
	StageRoot      = "mount the root file system"
	StageOverlay   = "mount overlay"
	StageSources   = "open mounts"
	StageProc      = "mount /proc"
	StageDev       = "mount /dev"
	StageSys       = "mount /sys"
	StagePivot     = "pivot_root"
	StageMounts    = "mount into the root"
	StageMask      = "hide paths"
	StageHostname  = "set hostname"
	StageTerminal  = "open terminal"
	StageDir       = "enter the working directory"
	StageLimits    = "set limits"
	StageScope     = "close off abstract sockets"
	StageBounding  = "limit capabilities"
	StageFilter    = "install system call filter"
	StageUser      = "set user"
	StageSupervise = "emulate owners and users"
	StageCaps      = "drop capabilities"
	StageExec      = "exec"

	// Instead of most of them where there are no namespaces.
	StageChroot = "chroot"
)
