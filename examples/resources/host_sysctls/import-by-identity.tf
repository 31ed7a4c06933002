import {
  to = host_sysctls.router
  identity = {
    host = "web1"
    name = "router"
  }
}
