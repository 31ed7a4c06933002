import {
  to = host_sysctls.router
  id = "web1/router"
}
