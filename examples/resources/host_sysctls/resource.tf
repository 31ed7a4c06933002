# All that makes a host a router, in one file and set together: if the kernel refuses a value, none is set.
resource "host_sysctls" "router" {
  name = "router"
  settings = {
    "net.ipv4.ip_forward"                = "1"
    "net.ipv4.conf.all.accept_redirects" = "0"
    "net.ipv4.conf.all.send_redirects"   = "0"
    "net.ipv4.neigh.default.gc_thresh3"  = "8192"
  }
}

# Keys that a module brings.
resource "host_kernel_module" "conntrack" {
  host = "db1"
  name = "nf_conntrack"
}

resource "host_sysctls" "conntrack" {
  host    = "db1"
  name    = "conntrack"
  modules = [host_kernel_module.conntrack.name]
  settings = {
    "net.netfilter.nf_conntrack_max"            = "262144"
    "net.netfilter.nf_conntrack_tcp_be_liberal" = "1"
  }
}
