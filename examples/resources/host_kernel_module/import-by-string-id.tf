import {
  to = host_kernel_module.conntrack
  id = "web1/nf_conntrack"
}
