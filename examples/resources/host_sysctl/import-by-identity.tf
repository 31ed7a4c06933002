import {
  to = host_sysctl.be_liberal
  identity = {
    host = "web1"
    key  = "net.netfilter.nf_conntrack_tcp_be_liberal"
  }
}
