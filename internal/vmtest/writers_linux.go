package vmtest

import (
	"cmp"
	"fmt"
)

// Writer is a way in which a machine sets a sysctl at boot beside sysctl.d.
type Writer struct {
	Name string
	// Unit is the unit that a recording has for its writes.
	Unit string
	// Key and Value are what it sets if it does not set every key that it is told. A key has slashes.
	Key, Value string
	install    string // a script with $key and $value
}

// Writers are those that the machine of Trixie has the programs for.
var Writers = []Writer{
	{Name: "unit", Unit: "own.service", install: `
cat >/etc/systemd/system/own.service <<END
[Service]
Type=oneshot
ExecStart=sysctl -q -w $key=$value
[Install]
WantedBy=multi-user.target
END
systemctl -q enable own.service`},
	// As dockerd does, which is not installed: it sets ip_forward itself, when the network is up.
	{Name: "docker", Unit: "docker.service", Key: "net/ipv4/ip_forward", Value: "1", install: `
cat >/etc/systemd/system/docker.service <<END
[Unit]
After=network-online.target nss-lookup.target
Wants=network-online.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'echo $value >/proc/sys/$key'
[Install]
WantedBy=multi-user.target
END
systemctl -q enable docker.service`},
	{Name: "rc.local", Unit: "rc-local.service", install: `
rm -f /etc/systemd/system-generators/systemd-rc-local-generator
printf '#!/bin/sh\nsysctl -q -w %s=%s\n' "$key" "$value" >/etc/rc.local
chmod 755 /etc/rc.local`},
	{Name: "cron", Unit: "cron.service", install: `
echo "@reboot root /usr/sbin/sysctl -q -w $key=$value" >/etc/cron.d/own
systemctl -q enable cron.service`},
	{Name: "tmpfiles.d", Unit: "systemd-tmpfiles-setup.service", install: `
echo "w /proc/sys/$key - - - - $value" >/etc/tmpfiles.d/own.conf`},
	{Name: "udev, RUN", Unit: "systemd-udevd.service", install: `
cat >/etc/udev/rules.d/90-own.rules <<END
ACTION=="add", SUBSYSTEM=="net", KERNEL=="eth0", RUN+="/usr/sbin/sysctl -q -w $key=$value"
END`},
	{Name: "udev, SYSCTL", Unit: "systemd-udevd.service", install: `
cat >/etc/udev/rules.d/91-own.rules <<END
ACTION=="add", SUBSYSTEM=="net", KERNEL=="eth0", SYSCTL{$key}="$value"
END`},
	{Name: "networkd", Unit: "systemd-networkd.service", Key: "net/ipv4/conf/own0/proxy_arp", Value: "1", install: `
printf '[NetDev]\nName=own0\nKind=dummy\n' >/etc/systemd/network/50-own.netdev
printf '[Match]\nName=own0\n[Network]\nLinkLocalAddressing=no\nIPv4ProxyARP=yes\n' >/etc/systemd/network/50-own.network
systemctl -q enable systemd-networkd.service
systemctl -q disable systemd-networkd-wait-online.service`},
	{Name: "ufw", Unit: "ufw.service", install: `
echo "$key=$value" >>/etc/ufw/sysctl.conf
sed -i s/^ENABLED=.*/ENABLED=yes/ /etc/ufw/ufw.conf
sed -i 's/^DEFAULT_INPUT_POLICY=.*/DEFAULT_INPUT_POLICY="ACCEPT"/' /etc/default/ufw # or nobody could log in
systemctl -q enable ufw.service`},
	{Name: "tuned", Unit: "tuned.service", install: `
mkdir -p /etc/tuned/profiles/own
printf '[main]\nsummary=own\n[sysctl]\n%s=%s\n' "$(echo "$key" | tr / .)" "$value" >/etc/tuned/profiles/own/tuned.conf
echo own >/etc/tuned/active_profile
echo manual >/etc/tuned/profile_mode
systemctl -q enable tuned.service`},
}

// Install has this writer set a key to a value from the next boot on. A writer that has a Key and a Value sets those.
func (w Writer) Install(v *VM, key, value string) error {
	key, value = cmp.Or(w.Key, key), cmp.Or(w.Value, value)
	script := "set -eu\nkey=" + quote(key) + "\nvalue=" + quote(value) + w.install + "\nsync\n"
	if out, status := v.Sh(script); status != 0 {
		return fmt.Errorf("%s: %s", w.Name, out)
	}
	return nil
}
