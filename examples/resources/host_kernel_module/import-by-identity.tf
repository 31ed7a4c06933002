import {
  to = host_kernel_module.conntrack
  identity = {
    host = "web1"
    name = "nf_conntrack"
  }
}
