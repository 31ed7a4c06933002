# HOST/NAME; the host as the resource names it. A file of another name in /etc/sysctl.d is imported as HOST/FILE, as in web1/50-site.conf.
terraform import host_sysctls.router web1/router
