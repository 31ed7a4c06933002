# A NAT box: it forwards packets, and its connection tracking forgives TCP segments that look out of window, as those of asymmetric routes do.

terraform {
  required_providers {
    host = {
      source = "host-provider/host"
    }
  }
}

provider "host" {
  host        = var.address
  port        = var.port
  user        = var.user
  private_key = file(var.private_key_file)
  host_key    = var.host_key
  sudo        = var.user != "root"
}

resource "host_sysctl" "forward" {
  key   = "net.ipv4.ip_forward"
  value = "1"
}

resource "host_kernel_module" "conntrack" {
  name = "nf_conntrack"
}

# The key belongs to nf_conntrack, so the module has to be there at boot before sysctl.d is read: the reference says so.
resource "host_sysctl" "be_liberal" {
  key    = "net.netfilter.nf_conntrack_tcp_be_liberal"
  value  = "1"
  module = host_kernel_module.conntrack.name
}

# For debugging: log every packet that connection tracking finds invalid. The key is nf_conntrack's, the lines in the log are nf_log_syslog's.
resource "host_kernel_module" "log" {
  count = var.log_invalid ? 1 : 0
  name  = "nf_log_syslog"
}

resource "host_sysctl" "log_invalid" {
  count      = var.log_invalid ? 1 : 0
  key        = "net.netfilter.nf_conntrack_log_invalid"
  value      = "255"
  module     = host_kernel_module.conntrack.name
  depends_on = [host_kernel_module.log]
}

output "next_boot" {
  description = "What sets the key at the next boot."
  value       = host_sysctl.be_liberal.boot_source
}

variable "log_invalid" {
  description = "Whether to log packets that connection tracking finds invalid."
  type        = bool
  default     = false
}

variable "address" {
  description = "Address or name of the host."
  type        = string
  default     = "192.0.2.10"
}

variable "port" {
  description = "SSH port."
  type        = number
  default     = 22
}

variable "user" {
  description = "User to log in as; one that is not root becomes root through sudo."
  type        = string
  default     = "root"
}

variable "private_key_file" {
  description = "Private key to log in with."
  type        = string
  default     = "~/.ssh/id_ed25519"
}

variable "host_key" {
  description = "Public key of the host; what ~/.ssh/known_hosts says, if left out."
  type        = string
  default     = null
}
