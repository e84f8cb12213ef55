"""What ``durable.embedded`` stands on: finding binaries, choosing an account, telling life."""
