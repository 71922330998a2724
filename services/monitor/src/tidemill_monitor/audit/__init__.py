"""The audit records of projects and of the installation: hash chains, their anchors, and reading them."""
