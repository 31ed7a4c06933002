import {
  to = host_sysctl.be_liberal
  id = "web1/net.netfilter.nf_conntrack_tcp_be_liberal"
}
