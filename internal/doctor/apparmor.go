package doctor

import "strings"

// apparmorProfile is what lets a program make user namespaces where AppArmor keeps them from those without a profile (Ubuntu
// 23.10 and later). It restricts nothing else. contrib/apparmor/cairn is the same for the usual places.
const apparmorProfile = `# Lets cairn make user namespaces where kernel.apparmor_restrict_unprivileged_userns is 1 (Ubuntu 23.10 and later).
# Install it as root:
#   cp cairn /etc/apparmor.d/cairn && apparmor_parser -r /etc/apparmor.d/cairn
abi <abi/4.0>,
include <tunables/global>

profile cairn PROGRAM flags=(unconfined) {
  userns,

  include if exists <local/cairn>
}
`

// AppArmorProfile is the profile for a program's path, which may be a pattern.
func AppArmorProfile(program string) string {
	if strings.ContainsAny(program, " \t\"") {
		program = `"` + strings.ReplaceAll(program, `"`, `\"`) + `"`
	}
	return strings.Replace(apparmorProfile, "PROGRAM", program, 1)
}
