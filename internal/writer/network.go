package writer

// Network files of systemd-networkd: options that are keys of the interface.

import (
	"slices"
	"strings"

	"github.com/host-provider/terraform-provider-host/internal/confdir"
	"github.com/host-provider/terraform-provider-host/internal/sysctl"
)

// networkKeys are the options of the section [Network] that systemd-networkd writes to a key of the interface
// (systemd.network(5), network/networkd-sysctl.c).
var networkKeys = map[string]string{
	"IPv4Forwarding":                "net/ipv4/conf/IF/forwarding",
	"IPv6Forwarding":                "net/ipv6/conf/IF/forwarding",
	"IPv4ProxyARP":                  "net/ipv4/conf/IF/proxy_arp",
	"IPv4ProxyARPPrivateVLAN":       "net/ipv4/conf/IF/proxy_arp_pvlan",
	"IPv4AcceptLocal":               "net/ipv4/conf/IF/accept_local",
	"IPv4RouteLocalnet":             "net/ipv4/conf/IF/route_localnet",
	"IPv4ReversePathFilter":         "net/ipv4/conf/IF/rp_filter",
	"IPv6PrivacyExtensions":         "net/ipv6/conf/IF/use_tempaddr",
	"IPv6DuplicateAddressDetection": "net/ipv6/conf/IF/dad_transmits",
	"IPv6HopLimit":                  "net/ipv6/conf/IF/hop_limit",
	"IPv6ProxyNDP":                  "net/ipv6/conf/IF/proxy_ndp",
	"IPv6MTUBytes":                  "net/ipv6/conf/IF/mtu",
}

// networkValues are the words of those options that are other words to the kernel.
var networkValues = map[string]map[string]string{
	"IPv4ReversePathFilter": {"no": "0", "strict": "1", "loose": "2"},
	"IPv6PrivacyExtensions": {"no": "0", "prefer-public": "1", "yes": "2", "kernel": ""},
}

var yesNo = map[string]string{
	"yes": "1", "true": "1", "on": "1", "1": "1", "no": "0", "false": "0", "off": "0", "0": "0",
}

// readNetwork reads a network file, if systemd-networkd is enabled.
func readNetwork(s *Scan, f File) []Write {
	if !slices.Contains(s.Enabled, "systemd-networkd.service") {
		return nil
	}
	var found []sysctl.Assignment
	interfaces, named := []string{"*"}, false
	section := ""
	lines(f.Text, func(n int, line string) {
		if strings.HasPrefix(line, "[") {
			section = line
			return
		}
		option, v, ok := strings.Cut(line, "=")
		if option, v = strings.TrimSpace(option), strings.TrimSpace(v); !ok || strings.HasPrefix(line, "#") {
			return
		}
		if section == "[Match]" && option == "Name" && !strings.Contains(v, "!") {
			if v == "" || !named {
				interfaces = nil
			}
			interfaces, named = append(interfaces, strings.Fields(v)...), v != ""
		}
		if section != "[Network]" || networkKeys[option] == "" {
			return
		}
		value, known := v, true
		if words := networkValues[option]; words != nil {
			if value, known = words[strings.ToLower(v)]; known && value == "" {
				return
			}
		}
		if word := yesNo[strings.ToLower(v)]; word != "" && networkValues[option] == nil {
			value = word
		}
		for _, name := range interfaces {
			found = append(found, sysctl.Assignment{Pattern: strings.Replace(networkKeys[option], "IF", name, 1),
				Value: value, HasValue: known, At: confdir.Position{File: f.Path, Line: n}})
		}
	})
	return writes("systemd-networkd.service", Later, found)
}
