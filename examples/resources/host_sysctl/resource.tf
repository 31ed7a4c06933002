# A key of the kernel itself.
resource "host_sysctl" "swappiness" {
  key   = "vm.swappiness"
  value = "10"
}

# A key that a module brings: without the module at boot the setting would be lost, and nothing would say so.
resource "host_kernel_module" "conntrack" {
  name = "nf_conntrack"
}

resource "host_sysctl" "be_liberal" {
  key    = "net.netfilter.nf_conntrack_tcp_be_liberal"
  value  = "1"
  module = host_kernel_module.conntrack.name
}

# Dots inside a name: with slashes as separators they stand for themselves. Another host than the provider's own, and until the next boot only.
resource "host_sysctl" "vlan_forwarding" {
  host    = "db1"
  key     = "net/ipv4/conf/eth0.100/forwarding"
  value   = "1"
  persist = false
}
