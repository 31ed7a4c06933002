terraform {
  required_providers {
    host = {
      source = "host-provider/host"
    }
  }
}

provider "host" {
  host        = "web1"
  user        = "ops"
  private_key = file("~/.ssh/id_ed25519")
  sudo        = true

  # Only what differs from the settings above.
  hosts = {
    web1 = { address = "192.0.2.10" }
    db1  = { address = "192.0.2.20", port = 2222, user = "root", sudo = false }
  }
}
