# HOST/MODULE; the host as the resource names it.
terraform import host_kernel_module.conntrack web1/nf_conntrack
