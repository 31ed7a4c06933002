# HOST/KEY; the host as the resource names it, the key in either spelling.
terraform import host_sysctl.be_liberal web1/net.netfilter.nf_conntrack_tcp_be_liberal
