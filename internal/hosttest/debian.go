package hosttest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// debianFiles are the files of a fresh Debian 12 that matter here.
var debianFiles = map[string]string{
	"/etc/hostname":   "sim\n",
	"/etc/os-release": "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\nID=debian\n",
	"/etc/modules": "# /etc/modules: kernel modules to load at boot time.\n#\n" +
		"# This file contains the names of kernel modules that should be loaded\n# at boot time, one per line. Lines beginning with \"#\" are ignored.\n",
	"/etc/sysctl.conf": "#\n# /etc/sysctl.conf - Configuration file for setting system variables\n#\n\n" +
		"#kernel.domainname = example.com\n\n#net.ipv4.conf.default.rp_filter=1\n#net.ipv4.ip_forward=1\n",
	"/etc/sysctl.d/README.sysctl":       "Kernel system variables configuration files\n",
	"/usr/lib/sysctl.d/50-pid-max.conf": "# Bump the numeric PID range\nkernel.pid_max = 4194304\n",
	"/usr/lib/sysctl.d/99-protect-links.conf": "# Links and FIFOs of others\nfs.protected_fifos = 1\nfs.protected_hardlinks = 1\n" +
		"fs.protected_regular = 2\nfs.protected_symlinks = 1\n",
	"/usr/lib/modprobe.d/systemd.conf": "# systemd creates these devices itself\noptions bonding max_bonds=0\noptions dummy numdummies=0\n",
}

// install fills an empty disk with a Debian 12.
func (m *machine) install(noSFTP bool) {
	m.root = newDir(0o755)
	m.root.savedMode = m.root.mode
	m.mu.Lock()
	for _, dir := range []string{"/etc/sysctl.d", "/etc/modprobe.d", "/etc/modules-load.d", "/usr/bin", "/usr/sbin", "/usr/lib/openssh",
		"/usr/lib/sysctl.d", "/usr/lib/modprobe.d", "/usr/lib/modules-load.d", "/usr/local/lib", "/usr/local/bin", "/usr/local/sbin", "/var/log",
		"/home"} {
		m.putDir(dir, 0o755)
	}
	m.putDir("/root", 0o700)
	m.putDir("/run", 0o755).volatile = true
	m.putDir("/tmp", 0o777).volatile = true
	for _, name := range []string{"bin", "sbin", "lib"} {
		m.putLink("/"+name, "usr/"+name)
	}
	m.putLink("/etc/sysctl.d/99-sysctl.conf", "../sysctl.conf")
	m.putLink("/etc/modules-load.d/modules.conf", "../modules")
	for _, u := range m.accounts {
		if u.Name != "root" {
			home := m.putDir("/home/"+u.Name, 0o700)
			home.uid = m.credOf(u.Name).uid
			home.savedUID = home.uid
		}
	}
	m.mu.Unlock()
	for path, text := range debianFiles {
		m.put(path, text, 0o644)
	}
	for name := range programs {
		dir := "/usr/bin/"
		if slices.Contains(superPrograms, name) {
			dir = "/usr/sbin/"
		}
		if name == "sftp-server" {
			if dir = "/usr/lib/openssh/"; noSFTP {
				continue
			}
		}
		m.put(dir+name, "simulated\n", 0o755)
	}
	m.installModules()
}

// installModules writes the files of /lib/modules, with the indexes that depmod makes of them.
func (m *machine) installModules() {
	var builtin, dep, alias strings.Builder
	mods := moduleDefs()
	for _, name := range slices.Sorted(maps.Keys(mods)) {
		mod := mods[name]
		if mod.builtin {
			fmt.Fprintf(&builtin, "kernel/%s\n", mod.file)
			continue
		}
		m.put("/usr"+mod.path(), "simulated\n", 0o644)
		fmt.Fprintf(&dep, "kernel/%s:", mod.file)
		for _, needed := range slices.Backward(mod.needs) {
			fmt.Fprintf(&dep, " kernel/%s", mods[needed].file)
		}
		dep.WriteByte('\n')
		for _, a := range mod.aliases {
			fmt.Fprintf(&alias, "alias %s %s\n", a, name)
		}
	}
	for name, text := range map[string]string{
		"builtin": builtin.String(), "dep": dep.String(), "alias": alias.String(), "softdep": "# Soft dependencies extracted from modules themselves.\n",
	} {
		m.put("/usr"+modulesDir+"/modules."+name, text, 0o644)
	}
}
